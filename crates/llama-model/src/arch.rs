//! The architectures that run, as data: everything in which they differ from plain llama is a field here,
//! a hyper-parameter, or a tensor that is there or not.

use kernels::RopeKind;

/// What is special about an architecture.
#[derive(Debug)]
pub(crate) struct Arch {
    /// `general.architecture`.
    pub(crate) name: &'static str,
    /// Which elements RoPE pairs.
    pub(crate) rope: RopeKind,
    /// Whether Q, K and V must have biases (else they may).
    pub(crate) qkv_bias: bool,
    /// What llama.cpp calls the attention block's output in a trace; it leaves some nodes without a name.
    pub(crate) attn_out_label: Option<&'static str>,
}

/// Every architecture that runs.
pub(crate) const ARCHS: &[Arch] = &[
    Arch { name: "llama", rope: RopeKind::Norm, qkv_bias: false, attn_out_label: Some("attn_out") },
    Arch { name: "qwen2", rope: RopeKind::Neox, qkv_bias: true, attn_out_label: None },
];

/// Their names, for the error that lists them.
pub(crate) fn arch_names() -> &'static [&'static str] {
    const NAMES: [&str; ARCHS.len()] = {
        let mut names = [""; ARCHS.len()];
        let mut i = 0;
        while i < ARCHS.len() {
            names[i] = ARCHS[i].name;
            i += 1;
        }
        names
    };
    &NAMES
}
