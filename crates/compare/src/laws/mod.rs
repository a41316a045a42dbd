//! What each stage must obey, measured on one side alone from its own inputs and outputs: an epsilon, a base, a scale.
//! Where the sides measure differently, that is the reason of the divergence; no weights are needed, and it does not
//! matter how far the inputs have drifted apart.

pub(crate) mod attention;
pub(crate) mod norm;
pub(crate) mod rope;
pub(crate) mod sums;
