//! A loaded model: hyper-parameters and weights in one arithmetic.

use crate::ModelError;
use crate::arch::Arch;
use crate::arith::{Arithmetic, Fast, Oracle, Reference};
use crate::context::ContextOptions;
use crate::forward::Workspace;
use crate::hparams::Hparams;
use crate::memory;
use crate::weights::{Loader, Net};
use gguf_parse::{Gguf, TensorInfo};
use kernels::Isa;
use std::sync::Arc;

/// The arithmetic to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numerics {
    /// SIMD on packed weights: what users run.
    #[default]
    Fast,
    /// Scalar, bit-identical to llama.cpp's scalar build.
    Reference,
    /// f64 throughout: the arbiter of who is closer to the truth.
    Oracle,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The arithmetic.
    pub numerics: Numerics,
    /// Threads to compute with. They change the speed, never a result.
    pub n_threads: usize,
    /// The instruction set of `Fast`.
    pub isa: Isa,
    /// Whether `Fast` packs all weights at load and reads the copy. Else each thread packs the rows that it is about to read
    /// out of the mapped file, every time: loading takes no time and no memory, computing takes longer. The results are the
    /// same bits. The other arithmetics never pack.
    pub repack: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            numerics: Numerics::Fast,
            n_threads: memory::default_threads(),
            isa: Isa::detect(),
            repack: true,
        }
    }
}

pub(crate) enum AnyNet {
    Fast(Net<Fast>),
    Reference(Net<Reference>),
    Oracle(Net<Oracle>),
}

/// A loaded model. `Send + Sync`: share it with [`Arc`], make a [`crate::Context`] for each conversation.
pub struct Model {
    hparams: Hparams,
    pub(crate) net: AnyNet,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("hparams", &self.hparams).finish_non_exhaustive()
    }
}

impl Model {
    /// Checks the hyper-parameters and loads the weights. `progress` gets the fraction done.
    ///
    /// # Errors
    /// `UnknownArch`, `Unsupported`; a key or tensor that is missing or wrong, by name; `OverBudget` before
    /// anything large is allocated.
    pub fn load(
        gguf: Arc<Gguf>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Self, ModelError> {
        if options.n_threads == 0 || options.n_threads > 1024 {
            return Err(ModelError::Argument {
                what: "the number of threads",
                found: options.n_threads.to_string(),
                allowed: "1..=1024".to_owned(),
            });
        }
        let (hp, arch) = Hparams::from_gguf(&gguf)?;
        let n = options.n_threads;
        let load = Load { gguf: &gguf, hp: &hp, arch, progress };
        let (net, warnings) = match options.numerics {
            Numerics::Fast => load
                .net(Fast::new(n, options.isa, options.repack)?)
                .map(|(net, w)| (AnyNet::Fast(net), w))?,
            Numerics::Reference => {
                load.net(Reference::new(n)?).map(|(net, w)| (AnyNet::Reference(net), w))?
            }
            Numerics::Oracle => {
                load.net(Oracle::new(n)?).map(|(net, w)| (AnyNet::Oracle(net), w))?
            }
        };
        Ok(Self { hparams: hp, net, warnings })
    }

    /// The hyper-parameters.
    #[must_use]
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
    }

    /// The arithmetic it was loaded for.
    #[must_use]
    pub fn numerics(&self) -> Numerics {
        match self.net {
            AnyNet::Fast(_) => Numerics::Fast,
            AnyNet::Reference(_) => Numerics::Reference,
            AnyNet::Oracle(_) => Numerics::Oracle,
        }
    }

    /// What is odd about the file but harmless, one sentence each: tensors that no layer uses.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes that a context of this size takes, before anything is allocated.
    #[must_use]
    pub fn context_bytes(&self, options: &ContextOptions) -> u64 {
        fn bytes<A: Arithmetic>(hp: &Hparams, o: &ContextOptions) -> u64 {
            A::cache_bytes(hp, o).saturating_add(Workspace::<A>::n_bytes(hp, o.n_ubatch))
        }
        match self.net {
            AnyNet::Fast(_) => bytes::<Fast>(&self.hparams, options),
            AnyNet::Reference(_) => bytes::<Reference>(&self.hparams, options),
            AnyNet::Oracle(_) => bytes::<Oracle>(&self.hparams, options),
        }
    }

    /// Fails if there is no such cache.
    pub(crate) fn check_cache(&self, options: &ContextOptions) -> Result<(), ModelError> {
        match self.net {
            AnyNet::Fast(_) => Fast::check_cache(&self.hparams, options),
            AnyNet::Reference(_) => Reference::check_cache(&self.hparams, options),
            AnyNet::Oracle(_) => Oracle::check_cache(&self.hparams, options),
        }
    }

    /// The largest `n_ctx`, otherwise like `options`, that takes at most `bytes`; a multiple of 256, or 0.
    #[must_use]
    pub fn max_context(&self, options: &ContextOptions, bytes: u64) -> usize {
        let fits = |blocks: usize| {
            let n_ctx = blocks * 256;
            self.context_bytes(&ContextOptions { n_ctx, ..options.clone() }) <= bytes
        };
        let (mut low, mut high) = (0_usize, 1 << 24);
        while low < high {
            let mid = (low + high).div_ceil(2);
            if fits(mid) { low = mid } else { high = mid - 1 }
        }
        low * 256
    }

    /// The training context, or the largest that fits into half of the free memory: a default for the `n_ctx` of `options`.
    #[must_use]
    pub fn default_context(&self, options: &ContextOptions) -> usize {
        let fits = self.max_context(options, memory::available() / 2);
        self.hparams.n_ctx_train.min(fits.max(256))
    }

    /// Physical cores that affinity and cgroup quota allow: the default number of threads.
    #[must_use]
    pub fn default_threads() -> usize {
        memory::default_threads()
    }
}

/// What loading needs, whatever the arithmetic.
struct Load<'a> {
    gguf: &'a Arc<Gguf>,
    hp: &'a Hparams,
    arch: &'static Arch,
    progress: &'a mut dyn FnMut(f32),
}

impl Load<'_> {
    fn net<A: Arithmetic>(self, arith: A) -> Result<(Net<A>, Vec<String>), ModelError> {
        let tied = self.gguf.find_tensor("output.weight").is_none();
        let is_matrix =
            |t: &&TensorInfo| t.dims.ne().len() >= 2 && (tied || t.name != "token_embd.weight");
        let need = self.gguf.tensors().iter().filter(is_matrix);
        let need = need.map(|t| arith.matrix_bytes(t.ty, t.dims.n_rows(), t.dims.n_cols()));
        memory::check("the model", need.fold(0, u64::saturating_add), |_| String::new())?;
        Loader::new(self.gguf, arith, self.hp.clone(), self.arch, self.progress).net()
    }
}
