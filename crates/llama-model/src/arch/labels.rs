//! What llama.cpp calls the nodes of a graph, where architectures differ. `node` is a node it gives no name.

/// Names that differ between architectures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels {
    /// The product of the attention's output matrix (with its bias, if it has one).
    pub(crate) attn_out: &'static str,
    /// Normalized queries and keys.
    pub(crate) qk_normed: [&'static str; 2],
    /// Scaled queries.
    pub(crate) q_scaled: &'static str,
    /// The norm behind attention.
    pub(crate) attn_post_norm: &'static str,
    /// `x + attention`.
    pub(crate) ffn_inp: &'static str,
    /// The product of the last matrix.
    pub(crate) ffn_out: &'static str,
    /// The norm behind the feed-forward block.
    pub(crate) ffn_post_norm: PostNormLabel,
    /// The first of the two sums of a parallel block.
    pub(crate) first_sum: &'static str,
}

/// A norm that llama.cpp does not always count among those of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostNormLabel {
    /// Its name.
    pub(crate) label: &'static str,
    /// Whether the name has the layer's number.
    pub(crate) layered: bool,
    /// Whether the node before the multiplication with the weight has it.
    pub(crate) norm_layered: bool,
}

/// What most builders write.
pub(crate) const LABELS: Labels = Labels {
    attn_out: "node",
    qk_normed: ["Qcur_normed", "Kcur_normed"],
    q_scaled: "node",
    attn_post_norm: "attn_post_norm",
    ffn_inp: "ffn_inp",
    ffn_out: "ffn_out",
    ffn_post_norm: PostNormLabel { label: "ffn_post_norm", layered: false, norm_layered: false },
    first_sum: "node",
};
