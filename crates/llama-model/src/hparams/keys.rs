//! Reading keys, with the errors that name them.

use crate::ModelError;
use crate::arch::{Arch, Sum};
use gguf_parse::{ArrayView, FromValue, Gguf, GgufError, Metadata, Value};

/// The metadata as seen by one architecture: keys get its prefix.
pub(super) struct Keys<'a> {
    pub(super) metadata: Metadata<'a>,
    pub(super) arch: &'static str,
}

impl<'a> Keys<'a> {
    pub(super) fn wrong(&self, key: &str, found: impl ToString, allowed: &str) -> ModelError {
        ModelError::Hparam {
            key: format!("{}.{key}", self.arch),
            found: found.to_string(),
            allowed: allowed.to_owned(),
        }
    }

    pub(super) fn opt<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, ModelError> {
        Ok(self.metadata.get_opt(&format!("{}.{key}", self.arch))?)
    }

    pub(super) fn missing(&self, key: &str) -> ModelError {
        GgufError::MissingKey { key: format!("{}.{key}", self.arch) }.into()
    }

    /// A required size, `1..=max`.
    pub(super) fn dim(&self, key: &str, max: u32) -> Result<usize, ModelError> {
        let n: u32 = self.metadata.get(&format!("{}.{key}", self.arch))?;
        self.in_range(key, n, max)
    }

    pub(super) fn in_range(&self, key: &str, n: u32, max: u32) -> Result<usize, ModelError> {
        if n == 0 || n > max {
            return Err(self.wrong(key, n, &format!("1..={max}")));
        }
        Ok(n as usize)
    }

    /// A size that may be given once or once a layer; layers that differ are not supported.
    pub(super) fn uniform(
        &self,
        key: &str,
        n_layer: usize,
        max: u32,
    ) -> Result<Option<usize>, ModelError> {
        let full = format!("{}.{key}", self.arch);
        let Some(Value::Array(array)) = self.metadata.value(&full) else {
            return self.opt::<u32>(key)?.map(|n| self.in_range(key, n, max)).transpose();
        };
        let values = as_u32s(array).filter(|v| v.len() == n_layer).ok_or_else(|| {
            self.wrong(key, format!("an array of {}", array.len()), &format!("{n_layer} numbers"))
        })?;
        if values.iter().any(|v| *v != values[0]) {
            return Err(ModelError::Unsupported {
                key: full,
                found: "an array".to_owned(),
                feature: "a size that differs from layer to layer",
            });
        }
        self.in_range(key, values[0], max).map(Some)
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.opt::<f32>(key)? {
            Some(x) if !(x.is_finite() && x > 0.0) => Err(self.wrong(key, x, "finite and above 0")),
            x => Ok(x),
        }
    }

    pub(super) fn head_size(&self, n_embd: usize, n_head: usize) -> Result<usize, ModelError> {
        let mut size = None;
        for key in ["attention.key_length", "attention.value_length"] {
            let found = match self.opt::<u32>(key)? {
                Some(n) => self.in_range(key, n, 1 << 16)?,
                None if !n_embd.is_multiple_of(n_head) => {
                    return Err(self.wrong(
                        "embedding_length",
                        n_embd,
                        &format!("a multiple of {n_head} heads"),
                    ));
                }
                None => n_embd / n_head,
            };
            if *size.get_or_insert(found) != found {
                return Err(ModelError::Unsupported {
                    key: format!("{}.{key}", self.arch),
                    found: found.to_string(),
                    feature: "a value head of another size than the key head",
                });
            }
        }
        Ok(size.unwrap_or(n_embd / n_head))
    }

    /// The rows of the embedding matrix, which the vocabulary must agree with.
    pub(super) fn n_vocab(&self, gguf: &Gguf) -> Result<usize, ModelError> {
        let n_vocab = gguf.tensor("token_embd.weight")?.dims.n_rows();
        if let Some(tokens) = self.metadata.get_opt::<ArrayView<'_>>("tokenizer.ggml.tokens")?
            && tokens.len() != n_vocab
        {
            return Err(ModelError::Hparam {
                key: "tokenizer.ggml.tokens".to_owned(),
                found: format!("an array of {}", tokens.len()),
                allowed: format!("{n_vocab} tokens, the rows of token_embd.weight"),
            });
        }
        Ok(n_vocab)
    }

    /// How the architecture adds up, as the file has it.
    pub(super) fn sum(&self, arch: &Arch, gguf: &Gguf) -> Result<Sum, ModelError> {
        Ok(match arch.sum {
            Sum::ByKey => match self.opt::<bool>("use_parallel_residual")? {
                Some(true) => Sum::FfnXAttn,
                Some(false) => Sum::InTurn,
                None => return Err(self.missing("use_parallel_residual")),
            },
            Sum::ByFfnNorm if gguf.find_tensor("blk.0.ffn_norm.weight").is_none() => Sum::AttnXFfn,
            Sum::ByFfnNorm => Sum::InTurn,
            sum => sum,
        })
    }

    /// A scaling factor; 0 means none, as in llama.cpp.
    pub(super) fn scaling_factor(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.opt::<f32>(key)? {
            Some(x) if !(x.is_finite() && x >= 0.0) => {
                Err(self.wrong(key, x, "finite and not negative"))
            }
            x => Ok(x),
        }
    }
}

/// Any integer array as `u32`s; `None` if it holds something else or a negative number.
fn as_u32s(array: ArrayView<'_>) -> Option<Vec<u32>> {
    if let Some(values) = array.to_u32s() {
        return Some(values);
    }
    array.to_i32s()?.into_iter().map(|v| u32::try_from(v).ok()).collect()
}
