//! The types a whole file may have.
use gguf_parse::GgmlType;

macro_rules! file_types {
    ($($variant:ident = $id:literal, $name:literal, $tensor:ident;)*) => {
        /// What `general.file_type` says: the type most tensors have, and (`_M`) that some have a better one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "llama.cpp's own spelling")]
        #[expect(missing_docs, reason = "the names are llama.cpp's")]
        #[non_exhaustive]
        pub enum FileType { $($variant,)* }

        impl FileType {
            /// Every file type that can be made, smallest files last.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of `general.file_type`.
            #[must_use]
            pub fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }
            /// llama.cpp's name (`"Q4_K_M"`).
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// The type of the tensors that have no better one.
            #[must_use]
            pub fn tensor_type(self) -> GgmlType {
                match self { $(Self::$variant => GgmlType::$tensor,)* }
            }
        }
    };
}

file_types! {
    F32 = 0, "F32", F32;
    F16 = 1, "F16", F16;
    BF16 = 32, "BF16", BF16;
    Q8_0 = 7, "Q8_0", Q8_0;
    Q6_K = 18, "Q6_K", Q6_K;
    Q5_K_M = 17, "Q5_K_M", Q5_K;
    Q4_K_M = 15, "Q4_K_M", Q4_K;
    Q4_0 = 2, "Q4_0", Q4_0;
    IQ4_NL = 25, "IQ4_NL", IQ4_NL;
    IQ4_XS = 30, "IQ4_XS", IQ4_XS;
}

impl FileType {
    /// The file type with this name, in upper or lower case; `Q4_K` and `Q5_K` mean their `_M`. `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match () {
            () if is("Q4_K") => Some(Self::Q4_K_M),
            () if is("Q5_K") => Some(Self::Q5_K_M),
            () => Self::ALL.iter().copied().find(|ty| is(ty.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for &ty in FileType::ALL {
            assert_eq!(FileType::from_name(ty.name()), Some(ty));
            assert_eq!(FileType::from_name(&ty.name().to_lowercase()), Some(ty));
            assert!(dequant::is_target(ty.tensor_type()), "{} can be written", ty.name());
        }
        assert_eq!(FileType::from_name("q4_k"), Some(FileType::Q4_K_M));
        assert_eq!(FileType::from_name("Q3_K_M"), None);
        assert_eq!(FileType::from_name(""), None);
    }
}
