//! Which form of the activations a type of weights is multiplied with.

use crate::format::{Format, with_format};
use dequant::GgmlType;
use std::ops::BitOr;

/// A form of the activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "ggml's spelling of its types")]
#[non_exhaustive]
pub enum ActForm {
    /// Blocks of 32 codes, as ggml's Q8_0 and Q8_1, whose codes and scales are the same.
    Q8_0,
    /// The same, and the codes in 16 bits too, for weights of 8 bits.
    Q8_0Wide,
    /// Blocks of 256 codes, as ggml's Q8_K.
    Q8_K,
    /// Rounded to F16.
    F16,
    /// Rounded to BF16.
    BF16,
    /// As they are.
    F32,
}

impl ActForm {
    /// The form for weights of type `ty`, a supported one.
    pub(crate) fn of(ty: GgmlType) -> Self {
        match ty {
            GgmlType::F16 => Self::F16,
            GgmlType::BF16 => Self::BF16,
            _ => with_format!(ty, F => match (F::K, F::BITS) {
                (256, _) => Self::Q8_K,
                (_, 8) => Self::Q8_0Wide,
                _ => Self::Q8_0,
            }, _W => Self::F32)
            .unwrap_or(Self::F32),
        }
    }
}

/// A set of [`ActForm`]s: `w.act_form().into()`, joined by `|` or collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActForms(u8);

impl ActForms {
    /// Whether `form` is in the set.
    #[must_use]
    pub fn contains(self, form: ActForm) -> bool {
        self.0 & Self::from(form).0 != 0
    }
}

impl From<ActForm> for ActForms {
    fn from(form: ActForm) -> Self {
        Self(1 << form as u8)
    }
}

impl BitOr for ActForms {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<ActForm> for ActForms {
    fn from_iter<I: IntoIterator<Item = ActForm>>(forms: I) -> Self {
        forms.into_iter().map(Self::from).fold(Self::default(), Self::bitor)
    }
}
