//! The instruction set to compute with, chosen at run time.
//!
//! An [`Isa`] is a proof as well as a choice: a value other than [`Isa::Scalar`] can only be had from
//! [`Isa::available`] and its relatives, which ask the CPU first. Kernels that need the instructions
//! take the proof, so nothing has to be checked again per call. Every instruction set gives the same bits.

use dequant::GgmlType;
use std::fmt;

/// An instruction set this CPU has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: on every CPU, and the definition of what the others compute.
    Scalar,
    /// AVX2 with FMA and F16C: x86-64 since 2013 (Intel Haswell, AMD Zen). There are two of these where AVX-VNNI is, with
    /// its dot products (`"avxvnni"`: Intel Alder Lake of 2021, AMD Zen 5) and without.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 with VNNI: x86-64 servers since 2019 (Intel Cascade Lake), AMD since Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// NEON with dot products: AArch64 since 2018 (Arm Neoverse N1, Cortex-A76, Apple M1). There are two of these where I8MM is,
    /// with its products of matrices (`"i8mm"`: Arm Neoverse V1 and N2, Cortex-A510, Apple M2, from 2020 on) and without.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// Proof that the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2 {
    vnni: Option<Vnni256>,
}

/// Proof that the CPU also has `vpdpbusd` for registers of 256 bits, in an encoding.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vnni256(Encoding);

/// How an instruction is written down.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// AVX-VNNI.
    Vex,
    /// AVX-512 VL and VNNI. Where these are, wider registers are better: only tests use it, on CPUs without the other.
    #[cfg(test)]
    Evex,
}

#[cfg(target_arch = "x86_64")]
impl Vnni256 {
    /// How it is encoded.
    pub(crate) fn encoding(self) -> Encoding {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The proof, if this CPU has the instructions.
    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self { vnni: None })
    }

    /// The proof with AVX-VNNI, if this CPU has the instructions.
    fn detect_vnni() -> Option<Self> {
        let vnni = is_x86_feature_detected!("avxvnni").then_some(Vnni256(Encoding::Vex))?;
        Self::detect().map(|_| Self { vnni: Some(vnni) })
    }

    /// The proof for dot products, where they are included.
    pub(crate) fn vnni(self) -> Option<Vnni256> {
        self.vnni
    }
}

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI, and all of [`Avx2`].
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512 {
    avx2: Avx2,
    bf16: Option<Avx512Bf16>,
}

/// Proof that the CPU also has AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The proof, if this CPU has the instructions.
    fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        let bf16 = is_x86_feature_detected!("avx512bf16").then_some(Avx512Bf16(()));
        all.then_some(Self { avx2, bf16 })
    }

    /// The same CPU as if it had no products of BF16.
    #[cfg(test)]
    pub(crate) fn without_bf16(self) -> Self {
        Self { bf16: None, ..self }
    }

    /// The proof for AVX2 with the 256-bit form of its dot products.
    #[cfg(test)]
    pub(crate) fn avx2_evex(self) -> Avx2 {
        Avx2 { vnni: Some(Vnni256(Encoding::Evex)) }
    }

    /// The proof for AVX2, which is included.
    pub(crate) fn avx2(self) -> Avx2 {
        self.avx2
    }

    /// The proof for products of BF16, where they are included.
    pub(crate) fn bf16(self) -> Option<Avx512Bf16> {
        self.bf16
    }
}

/// Proof that the CPU has NEON, which every AArch64 has, and its dot products.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon {
    i8mm: Option<I8mm>,
}

/// Proof that the CPU also has I8MM, products of small matrices of bytes.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct I8mm(());

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// The proof, if this CPU has the instructions. (Packed weights are little-endian, and so are the kernels.)
    fn detect() -> Option<Self> {
        let all = cfg!(target_endian = "little")
            && std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("dotprod");
        all.then_some(Self { i8mm: None })
    }

    /// The proof with I8MM, if this CPU has the instructions.
    fn detect_i8mm() -> Option<Self> {
        let i8mm = std::arch::is_aarch64_feature_detected!("i8mm").then_some(I8mm(()))?;
        Self::detect().map(|_| Self { i8mm: Some(i8mm) })
    }

    /// The proof for I8MM, where it is included.
    pub(crate) fn i8mm(self) -> Option<I8mm> {
        self.i8mm
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
            Avx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect_vnni().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "aarch64")]
            Neon::detect_i8mm().map(Self::Neon),
            #[cfg(target_arch = "aarch64")]
            Neon::detect().map(Self::Neon),
            Some(Self::Scalar),
        ];
        best_first.into_iter().rev().flatten()
    }

    /// The instruction set with this [`name`](Self::name), if this CPU has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::available().find(|isa| isa.name() == name)
    }

    /// Tokens that its matrix kernels compute together.
    pub(crate) fn tile(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => 6,
            _ => 4,
        }
    }

    /// Consecutive codes of a token that lie together in a tile of activations: what meets a row of weights at once.
    pub(crate) fn run(self) -> usize {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) if token.i8mm().is_some() => 8,
            _ => 4,
        }
    }

    /// Groups of 16 rows that its matrix kernels take together with `n_tokens` tokens: chains of additions that do not
    /// wait for each other.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "one group for any"))]
    pub(crate) fn groups(self, n_tokens: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) | Self::Avx2(_) if n_tokens <= self.tile() => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => 2,
            _ => 1,
        }
    }

    /// Whether its kernels for weights of type `ty` store sums at any place, instead of adding to given ones.
    pub(crate) fn stores_rows(self, ty: GgmlType) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => ty != GgmlType::BF16 || self.multiplies_bf16(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => true,
            _ => {
                let _ = ty;
                false
            }
        }
    }

    /// Whether its kernels for `n_tokens` and weights of type `ty` with `n_cols` columns can add to what is there, where
    /// they store at any place.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "none can"))]
    pub(crate) fn adds_rows(self, ty: GgmlType, n_tokens: usize, n_cols: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Self::Avx512(_) = self {
            let floats = matches!(ty, GgmlType::F16 | GgmlType::BF16 | GgmlType::F32);
            return !floats && crate::x86_64::avx512::linear::adds(n_tokens, n_cols);
        }
        false
    }

    /// Whether its kernels begin a sum of biased products with [`crate::acts::Codes::minus`].
    pub(crate) fn starts_with_minus(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => token.vnni().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => true,
            _ => false,
        }
    }

    /// Whether it has an instruction for products of BF16.
    pub(crate) fn multiplies_bf16(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => token.bf16().is_some(),
            _ => false,
        }
    }

    /// Its name in lower case: `"scalar"`, `"avx2"`, `"avxvnni"`, `"avx512"`, `"neon"`, `"i8mm"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) if token.vnni().is_some() => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) if token.i8mm().is_some() => "i8mm",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
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

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avxvnni_is_found_and_avx512_is_better() {
        let present = is_x86_feature_detected!("avxvnni");
        assert_eq!(Isa::from_name("avxvnni").is_some(), present);
        if let Some(best) = Isa::from_name("avx512") {
            assert_eq!(Isa::detect(), best);
        }
    }

    /// Tests on every instruction set mean little where none is found.
    #[cfg(target_arch = "aarch64")]
    #[test]
    fn neon_and_i8mm_are_found() {
        let present = std::arch::is_aarch64_feature_detected!("dotprod");
        assert_eq!(Isa::from_name("neon").is_some(), present);
        let present = present && std::arch::is_aarch64_feature_detected!("i8mm");
        assert_eq!(Isa::from_name("i8mm").is_some(), present);
        if let Some(best) = Isa::from_name("i8mm") {
            assert_eq!(Isa::detect(), best);
        }
    }
}
