//! SIMD on packed weights.
use super::{Arithmetic, Attend, Job, KvStore, Scores};
use crate::ModelError;
use crate::context::BatchToken;
use crate::hparams::{Hparams, RopeParams};
use crate::weights::FileTensor;

pub(crate) struct Fast;
impl Fast { pub(crate) fn new(_: usize, _: kernels::Isa) -> Result<Self, ModelError> { Ok(Self) } }
pub(crate) struct Cache;
impl KvStore for Cache {
    fn copy(&mut self, _: usize, _: usize, _: usize) { unimplemented!() }
    fn f16_rows(&self, _: usize, _: usize, _: usize) -> Option<(Vec<u16>, Vec<u16>)> { unimplemented!() }
}
impl Arithmetic for Fast {
    type Real = f32; type Matrix = FileTensor; type Acts = (); type Cache = Cache; type Rope = ();
    fn matrix(&self, _: FileTensor) -> Result<FileTensor, ModelError> { unimplemented!() }
    fn matrix_bytes(n: u64) -> u64 { n }
    fn rope(_: &RopeParams, _: Option<&[f32]>) {}
    fn acts(&self, _: usize, _: usize) {}
    fn cache(&self, _: &Hparams, _: usize, _: usize) -> Cache { unimplemented!() }
    fn cache_bytes(_: &Hparams, _: usize, _: usize) -> u64 { unimplemented!() }
    fn norm(&self, _: &[f32], _: &[f32], _: f32, _: &mut [f32], _: &mut dyn FnMut(&[f32])) { unimplemented!() }
    fn prepare(&self, _: &mut (), _: &[&FileTensor], _: &[f32], _: usize) { unimplemented!() }
    fn matmul(&self, _: &(), _: &mut [Job<'_, Self>]) { unimplemented!() }
    fn rotate(&self, _: &(), _: &mut [f32], _: usize, _: &[BatchToken]) { unimplemented!() }
    fn store(&self, _: &mut Cache, _: usize, _: &[BatchToken], _: &[f32], _: &[f32]) { unimplemented!() }
    fn attend(&self, _: Attend<'_, Self>, _: &mut [f32], _: Option<&mut Scores<f32>>) { unimplemented!() }
    fn swiglu(&self, _: &mut [f32], _: &[f32], _: usize) { unimplemented!() }
}
