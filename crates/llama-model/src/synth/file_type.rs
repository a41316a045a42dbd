//! The types a random model's file may have: those that `quantize` makes, and llama.cpp's other types of one block.

use super::{SynthOptions, SynthTensor};
use crate::ModelError;
use crate::quantize::{self, FileType};
use gguf_parse::{GgmlType, GgufPlan, Value};

/// What `general.file_type` says of a random model, and which type each of its matrices has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthFileType {
    name: &'static str,
    /// The value of `general.file_type`.
    id: u32,
    /// Whose rules hold.
    rules: FileType,
    /// The type where these rules say [`FileType::tensor_type`].
    ty: GgmlType,
}

/// Types that `quantize` does not make. llama.cpp's rules for them are those for Q4_0 (without an importance
/// matrix): blocks of 32 weights, and a better output matrix.
const OTHERS: [SynthFileType; 3] = {
    const fn like_q4_0(name: &'static str, id: u32, ty: GgmlType) -> SynthFileType {
        SynthFileType { name, id, rules: FileType::Q4_0, ty }
    }
    [
        like_q4_0("Q5_1", 9, GgmlType::Q5_1),
        like_q4_0("Q5_0", 8, GgmlType::Q5_0),
        like_q4_0("Q4_1", 3, GgmlType::Q4_1),
    ]
};

impl From<FileType> for SynthFileType {
    fn from(rules: FileType) -> Self {
        Self { name: rules.name(), id: rules.id(), rules, ty: rules.tensor_type() }
    }
}

impl SynthFileType {
    /// Every file type a random model can have.
    pub fn all() -> impl Iterator<Item = Self> {
        FileType::ALL.iter().map(|ty| Self::from(*ty)).chain(OTHERS)
    }

    /// The file type with this name, in upper or lower case. `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let other = || OTHERS.into_iter().find(|ty| ty.name.eq_ignore_ascii_case(name));
        FileType::from_name(name).map(Self::from).or_else(other)
    }

    /// The file type whose `general.file_type` this is. `None` if there is none.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::all().find(|ty| ty.id == id)
    }

    /// llama.cpp's name (`"Q4_K_M"`).
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The type of the matrices that have no better one.
    #[must_use]
    pub fn tensor_type(self) -> GgmlType {
        self.ty
    }

    /// The types of `tensors`, in their order.
    pub(super) fn types(
        self,
        options: &SynthOptions,
        tensors: &[SynthTensor],
    ) -> Result<Vec<GgmlType>, ModelError> {
        let listed = tensors.iter().map(|t| (t.name.as_str(), t.ty, t.ne.as_slice()));
        let (arch, shape) = (options.arch, &options.shape);
        let n_gqa = shape.n_head.checked_div(shape.n_head_kv).unwrap_or(0);
        let types = quantize::mix_types(arch, shape.n_layer, n_gqa, self.rules, listed);
        let mut types = types.map_err(|e| ModelError::Argument {
            what: "the file type of a random model",
            found: self.name.to_owned(),
            allowed: format!("one with rules for it ({e})"),
        })?;
        // Vectors are F32 whatever the file type, and so are the matrices of a file of F32.
        let replaced = self.rules.tensor_type();
        types.iter_mut().filter(|ty| **ty == replaced).for_each(|ty| *ty = self.ty);
        Ok(types)
    }

    /// Adds what a quantized file says of itself.
    pub(super) fn describe(self, plan: &mut GgufPlan) {
        plan.set("general.quantization_version", Value::U32(quantize::QUANTIZATION_VERSION));
        plan.set("general.file_type", Value::U32(self.id));
    }
}
