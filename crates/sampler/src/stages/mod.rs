//! The stages, one a file; each reshapes the candidates and leaves at least one with a finite
//! logit.

pub(crate) mod adaptive_p;
mod discrete;
pub(crate) mod dist;
pub(crate) mod dry;
pub(crate) mod logit_bias;
pub(crate) mod min_p;
pub(crate) mod mirostat;
pub(crate) mod penalties;
pub(crate) mod temperature;
pub(crate) mod top_k;
pub(crate) mod top_n_sigma;
pub(crate) mod top_p;
pub(crate) mod typical;
pub(crate) mod xtc;
