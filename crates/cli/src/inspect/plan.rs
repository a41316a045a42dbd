//! What a model would take, from its header alone.
use gguf_parse::{GgmlType, Gguf};
use llama_model::KvType;
use serde::Serialize;
use std::collections::BTreeMap;

/// The tensors of one type together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Sum {
    pub(super) n_tensors: usize,
    pub(super) n_elems: u64,
    pub(super) n_bytes: u64,
}

/// Sums by type, the largest first.
pub(super) fn by_type(gguf: &Gguf) -> Vec<(GgmlType, Sum)> {
    let mut sums: BTreeMap<GgmlType, Sum> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let sum = sums.entry(tensor.ty).or_default();
        sum.n_tensors += 1;
        sum.n_elems = sum.n_elems.saturating_add(tensor.dims.n_elems() as u64);
        sum.n_bytes = sum.n_bytes.saturating_add(tensor.n_bytes as u64);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.n_bytes));
    sums
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Plan {
    /// All tensors as they are in the file; repacking changes that by a few percent.
    pub(super) weights_bytes: u64,
    /// The f16 cache of keys and values for each position of the context.
    pub(super) kv_bytes_per_position: Option<u64>,
    /// The same for every type of cache that the model's heads can have.
    pub(super) kv_bytes_per_position_by_type: BTreeMap<&'static str, u64>,
    /// The context the model was trained with.
    pub(super) n_ctx_train: Option<u64>,
    /// Weights and the cache of that context.
    pub(super) total_bytes: Option<u64>,
}

impl Plan {
    /// From the hyper-parameters, as far as the file has them.
    pub(super) fn new(gguf: &Gguf) -> Self {
        let number = |key: &str| hparam(gguf, key);
        let cache = |ty: KvType| {
            let n_head_kv = number("attention.head_count_kv").or(number("attention.head_count"))?;
            let head = number("embedding_length")?.checked_div(number("attention.head_count")?)?;
            let k = number("attention.key_length").unwrap_or(head);
            let v = number("attention.value_length").unwrap_or(head);
            let is_whole = |n: u64| n.is_multiple_of(ty.head_multiple() as u64);
            let n =
                n_head_kv.checked_mul(k.checked_add(v).filter(|_| is_whole(k) && is_whole(v))?)?;
            let per_layer = ty.n_bytes(usize::try_from(n).ok()?)?;
            number("block_count")?.checked_mul(per_layer as u64)
        };
        let kv_bytes_per_position = cache(KvType::F16);
        let by_type = KvType::ALL.into_iter().filter_map(|ty| Some((ty.name(), cache(ty)?)));
        let kv_bytes_per_position_by_type = by_type.collect();
        let n_ctx_train = number("context_length");
        let weights_bytes =
            gguf.tensors().iter().fold(0_u64, |sum, t| sum.saturating_add(t.n_bytes as u64));
        let cache = kv_bytes_per_position.zip(n_ctx_train).and_then(|(n, ctx)| n.checked_mul(ctx));
        let total_bytes = cache.and_then(|cache| cache.checked_add(weights_bytes));
        Self {
            weights_bytes,
            kv_bytes_per_position,
            kv_bytes_per_position_by_type,
            n_ctx_train,
            total_bytes,
        }
    }
}

/// `ARCHITECTURE.key` as a number.
fn hparam(gguf: &Gguf, key: &str) -> Option<u64> {
    let metadata = gguf.metadata();
    let arch: &str = metadata.get("general.architecture").ok()?;
    metadata.get::<u32>(&format!("{arch}.{key}")).ok().map(u64::from)
}
