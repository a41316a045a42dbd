//! What a measured speed is worth: the work of a pass over tokens, and what this machine could do at most.

use crate::{Hparams, ModelError, memory};
use gguf_parse::{GgmlType, Gguf, TensorInfo};
use kernels::peak::{self, Unit};
use kernels::{KvType, Team};

pub use kernels::peak::Peak;

/// What some threads of this machine can do at most, measured when this was made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Peaks {
    /// The threads that were measured together.
    pub n_threads: usize,
    /// Bytes read from memory per second. `None` if there was too little memory to measure it.
    pub read: Option<f64>,
    /// Products of 8-bit integers; `None`, as below, where no fast instruction for it is known.
    pub int8: Option<Peak>,
    /// Products of BF16.
    pub bf16: Option<Peak>,
    /// Products of f32.
    pub f32: Option<Peak>,
}

impl Peaks {
    /// Measures, for about half a second and with 256 MiB.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn measure(n_threads: usize) -> Result<Self, ModelError> {
        /// Several times any last-level cache that a share of a machine has.
        const N_BYTES: usize = 256 << 20;
        let team = Team::new(n_threads)?;
        let fits = memory::available() / 2 >= N_BYTES as u64;
        Ok(Self {
            n_threads,
            read: fits.then(|| peak::read(&team, N_BYTES, 1)).flatten(),
            int8: peak::multiply(&team, Unit::Int8),
            bf16: peak::multiply(&team, Unit::Bf16),
            f32: peak::multiply(&team, Unit::F32),
        })
    }

    /// Seconds that `macs` take at least. `None` if a peak it needs is not known.
    #[must_use]
    pub fn seconds(&self, macs: &Macs) -> Option<f64> {
        let f32 = self.f32;
        [(macs.int8, self.int8), (macs.bf16, self.bf16.or(f32)), (macs.f32, f32)]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, peak)| Some(n as f64 / peak?.macs_per_second))
            .sum()
    }
}

/// Multiply-accumulates of matrices, by what the weights' type lets a CPU multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Macs {
    /// Blocks of integers with a scale.
    pub int8: u64,
    /// BF16.
    pub bf16: u64,
    /// F16 and F32: CPUs multiply both as f32.
    pub f32: u64,
}

impl Macs {
    /// Adds a matrix that `n` tokens pass.
    fn add(&mut self, tensor: &TensorInfo, n: u64) {
        let macs = match tensor.ty {
            GgmlType::BF16 => &mut self.bf16,
            GgmlType::F16 | GgmlType::F32 => &mut self.f32,
            _ => &mut self.int8,
        };
        *macs = macs.saturating_add((tensor.dims.n_elems() as u64).saturating_mul(n));
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.int8.saturating_add(self.bf16).saturating_add(self.f32)
    }
}

impl std::ops::AddAssign for Macs {
    fn add_assign(&mut self, other: Self) {
        self.int8 = self.int8.saturating_add(other.int8);
        self.bf16 = self.bf16.saturating_add(other.bf16);
        self.f32 = self.f32.saturating_add(other.f32);
    }
}

/// What a model has to multiply and to read.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// Matrices that every token passes.
    every: Vec<&'a TensorInfo>,
    /// Matrices that only tokens pass whose logits are wanted: behind the last attention.
    outputs: Vec<&'a TensorInfo>,
    /// Bytes of these, and of the vectors.
    weight_bytes: u64,
    /// Bytes of a position's keys and values in a layer.
    cell_bytes: u64,
    /// The window of each layer.
    windows: Vec<Option<usize>>,
}

impl<'a> Work<'a> {
    /// Of a model that loads, with a cache of these types.
    #[must_use]
    pub fn new(gguf: &'a Gguf, hparams: &Hparams, type_k: KvType, type_v: KvType) -> Self {
        let tied = gguf.find_tensor("output.weight").is_none();
        let last_ffn = format!("blk.{}.ffn_", hparams.n_layer - 1);
        let mut work = Self {
            every: Vec::new(),
            outputs: Vec::new(),
            weight_bytes: 0,
            cell_bytes: 0,
            windows: (0..hparams.n_layer).map(|il| hparams.n_swa(il)).collect(),
        };
        for tensor in gguf.tensors() {
            let is_embedding = tensor.name == "token_embd.weight";
            if is_embedding && !tied {
                // One row a token.
                continue;
            }
            work.weight_bytes = work.weight_bytes.saturating_add(tensor.n_bytes as u64);
            let is_head = is_embedding || tensor.name == "output.weight";
            if tensor.dims.ne().len() < 2 {
                continue;
            } else if is_head || tensor.name.starts_with(&last_ffn) {
                work.outputs.push(tensor);
            } else {
                work.every.push(tensor);
            }
        }
        let n = hparams.n_embd_kv();
        let bytes = |ty: KvType| ty.n_bytes(n).map_or(u64::MAX, |n| n as u64);
        work.cell_bytes = bytes(type_k).saturating_add(bytes(type_v));
        work
    }

    /// Multiply-accumulates of the matrices for `n_tokens`, of which `n_outputs` want logits. Attention is not in it.
    #[must_use]
    pub fn macs(&self, n_tokens: usize, n_outputs: usize) -> Macs {
        let mut macs = Macs::default();
        self.every.iter().for_each(|tensor| macs.add(tensor, n_tokens as u64));
        self.outputs.iter().for_each(|tensor| macs.add(tensor, n_outputs as u64));
        macs
    }

    /// Bytes that a step of `n_seq` sequences reads which each have `n_past` positions: every weight once, as the file
    /// holds it, and the keys and values that each layer sees.
    #[must_use]
    pub fn step_bytes(&self, n_seq: usize, n_past: usize) -> u64 {
        let seen = self.windows.iter().map(|n_swa| n_swa.map_or(n_past, |n| n.min(n_past)) as u64);
        let n_cells = seen.fold(0, u64::saturating_add).saturating_mul(n_seq as u64);
        self.weight_bytes.saturating_add(self.cell_bytes.saturating_mul(n_cells))
    }
}

#[cfg(test)]
mod tests {
    use super::{Macs, Peaks, Work};
    use crate::synth::{SynthModel, SynthOptions};
    use crate::{LoadOptions, Model};
    use gguf_parse::{GgmlType, Gguf};
    use kernels::KvType;
    use std::sync::Arc;

    #[test]
    fn work_of_a_shape() {
        for tied_output in [false, true] {
            let options = SynthOptions::named("tiny", GgmlType::Q8_0).unwrap();
            let shape = options.shape;
            let model = SynthModel::new(SynthOptions { tied_output, ..options }).unwrap();
            let gguf = Arc::new(Gguf::from_bytes(model.to_bytes().unwrap()).unwrap());
            let loaded =
                Model::load(Arc::clone(&gguf), &LoadOptions::default(), &mut |_| ()).unwrap();
            let work = Work::new(&gguf, loaded.hparams(), KvType::F16, KvType::Q8_0);
            let n_kv = shape.n_head_kv * shape.n_embd_head;
            let attention = shape.n_embd * (2 * shape.n_embd + 2 * n_kv);
            let (ffn, head) = (3 * shape.n_embd * shape.n_ff, shape.n_embd * shape.n_vocab);
            let all = 2 * (attention + ffn) + head;
            let macs = |n| Macs { int8: n as u64, ..Macs::default() };
            assert_eq!(work.macs(1, 1), macs(all));
            assert_eq!(work.macs(10, 1), macs(10 * (2 * attention + ffn) + ffn + head));
            assert_eq!(work.macs(3, 0).total(), 3 * (2 * attention + ffn) as u64);
            // 34 bytes for 32 weights, and five norms.
            let weights = (all / 32 * 34 + 5 * shape.n_embd * 4) as u64;
            assert_eq!(work.step_bytes(1, 0), weights);
            // Two layers; 2 bytes a number of the keys, 34 bytes for 32 of the values.
            let cell = (2 * n_kv + n_kv / 32 * 34) as u64;
            assert_eq!(work.step_bytes(1, 7), weights + 7 * 2 * cell);
            // One of them with a window.
            let work = Work { windows: vec![None, Some(5)], ..work };
            assert_eq!(work.step_bytes(3, 7), weights + 3 * (7 + 5) * cell);
        }
    }

    #[test]
    fn peaks_are_measured() {
        let peaks = Peaks::measure(1).unwrap();
        assert!(peaks.read.is_none_or(|rate| rate > 1e6), "{peaks:?}");
        let macs = Macs { int8: 0, bf16: 1 << 30, f32: 1 << 30 };
        let seconds = peaks.seconds(&macs);
        assert_eq!(seconds.is_some(), peaks.f32.is_some(), "{peaks:?}");
        assert!(seconds.is_none_or(|s| s > 0.0 && s < 10.0), "{seconds:?}");
        assert_eq!(peaks.seconds(&Macs::default()), Some(0.0));
        assert!(Peaks::measure(0).is_err(), "no threads");
    }
}
