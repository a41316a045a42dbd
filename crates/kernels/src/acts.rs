//! Activations, quantized once for all the matrices that read them.

use crate::{Isa, Team};
use std::ops::BitOr;

/// A form of the activations.
#[expect(non_camel_case_types, reason = "ggml's spelling of its types")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActForm {
    /// Blocks of 32 codes, as ggml's Q8_0 (and Q8_1, whose codes and scales are the same).
    Q8_0,
    /// Blocks of 256 codes, as ggml's Q8_K.
    Q8_K,
    /// Rounded to F16.
    F16,
    /// Rounded to BF16.
    BF16,
    /// As they are.
    F32,
}

/// A set of [`ActForm`]s: `w.act_form().into()`, joined by `|` or collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActForms(u8);

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
impl ActForms {
    /// Whether `form` is in the set.
    #[must_use]
    pub fn contains(self, form: ActForm) -> bool {
        self.0 & Self::from(form).0 != 0
    }
}

/// The rows `[n_tokens, n_cols]` that matrices are multiplied with, in the forms these need. Keeps its memory
/// from one use to the next.
#[derive(Debug, Default)]
pub struct Acts {
    n_tokens: usize,
    n_cols: usize,
}

impl Acts {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Quantizes `x`, `[n_tokens, n_cols]`, into every form of `forms`; the forms of before are gone.
    /// # Panics
    /// If `x` has another length; if a form needs whole blocks and `n_cols` is none.
    pub fn prepare(&mut self, isa: Isa, team: &Team, forms: ActForms, x: &[f32], n_cols: usize) {
        let _ = (isa, team, forms, x, n_cols);
        unimplemented!()
    }
    /// Rows prepared.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }
    /// Elements of a row.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }
}
