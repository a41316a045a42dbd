//! The instruction set to compute with, chosen at run time.
//!
//! An [`Isa`] is a proof as well as a choice: a value other than [`Isa::Scalar`] can only be had from
//! [`Isa::available`] and its relatives, which ask the CPU first. Kernels that need the instructions
//! take the proof, so nothing has to be checked again per call. Every instruction set gives the same bits.

use std::fmt;

/// An instruction set this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: on every CPU, and the definition of what the others compute.
    Scalar,
    /// AVX2 with FMA and F16C: x86-64 since 2013 (Intel Haswell, AMD Zen).
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

/// Proof that the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The proof, if this CPU has the instructions.
    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }
}

impl Isa {
    /// The best instruction set of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Every instruction set of this CPU, the slowest (always [`Isa::Scalar`]) first.
    pub fn available() -> impl Iterator<Item = Self> {
        let best_first = [
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Self::Avx2),
            Some(Self::Scalar),
        ];
        best_first.into_iter().rev().flatten()
    }

    /// The instruction set with this [`name`](Self::name), if this CPU has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::available().find(|isa| isa.name() == name)
    }

    /// Its name in lower case: `"scalar"`, `"avx2"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Isa;

    #[test]
    fn available_begins_with_scalar_and_names_are_unique() {
        let all: Vec<Isa> = Isa::available().collect();
        assert_eq!(all[0], Isa::Scalar);
        assert_eq!(all.last().copied(), Some(Isa::detect()));
        for isa in &all {
            assert_eq!(Isa::from_name(isa.name()), Some(*isa));
            assert_eq!(all.iter().filter(|other| other.name() == isa.name()).count(), 1);
        }
        assert_eq!(Isa::from_name("no such instruction set"), None);
    }
}
