//! The KV cache, as arguments.
use clap::{Args, ValueEnum};
use llama_model::{ContextOptions, KvType};

/// llama.cpp's flags for the KV cache.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Type of the cache's keys; q8_0 takes half of the memory of f16; may be written -ctk
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    cache_type_k: CacheType,

    /// The same for values; may be written -ctv
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    cache_type_v: CacheType,

    /// Keep all positions in layers with a sliding window, so that a conversation can be taken up anywhere
    #[arg(long)]
    swa_full: bool,
}

impl CacheArgs {
    /// Options of a context with such a cache.
    pub(crate) fn context(&self) -> ContextOptions {
        ContextOptions {
            type_k: self.cache_type_k.into(),
            type_v: self.cache_type_v.into(),
            swa_full: self.swa_full,
            ..ContextOptions::default()
        }
    }
}

/// [`KvType`] by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CacheType {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<CacheType> for KvType {
    fn from(arg: CacheType) -> Self {
        match arg {
            CacheType::F32 => Self::F32,
            CacheType::F16 => Self::F16,
            CacheType::Q8_0 => Self::Q8_0,
        }
    }
}
