//! ggml's tensor types: ids, names and block geometry.

macro_rules! ggml_types {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $elems:literal, $bytes:literal;)*) => {
        /// A tensor's element type. The ids are those of the file format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(non_camel_case_types, reason = "the format's own spelling")]
        #[expect(missing_docs, reason = "the names are ggml's")]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum GgmlType { $($(#[$doc])* $variant = $id,)* }

        impl GgmlType {
            /// Every type, in id order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The type with this id of the file format.
            #[must_use]
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }
            /// ggml's name (`"q4_K"`).
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// (elements, bytes) of a block.
            const fn geometry(self) -> (usize, usize) {
                match self { $(Self::$variant => ($elems, $bytes),)* }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "f32", 1, 4;
    F16 = 1, "f16", 1, 2;
    Q4_0 = 2, "q4_0", 32, 18;
    Q4_1 = 3, "q4_1", 32, 20;
    Q5_0 = 6, "q5_0", 32, 22;
    Q5_1 = 7, "q5_1", 32, 24;
    Q8_0 = 8, "q8_0", 32, 34;
    Q8_1 = 9, "q8_1", 32, 36;
    Q2_K = 10, "q2_K", 256, 84;
    Q3_K = 11, "q3_K", 256, 110;
    Q4_K = 12, "q4_K", 256, 144;
    Q5_K = 13, "q5_K", 256, 176;
    Q6_K = 14, "q6_K", 256, 210;
    Q8_K = 15, "q8_K", 256, 292;
    IQ2_XXS = 16, "iq2_xxs", 256, 66;
    IQ2_XS = 17, "iq2_xs", 256, 74;
    IQ3_XXS = 18, "iq3_xxs", 256, 98;
    IQ1_S = 19, "iq1_s", 256, 50;
    IQ4_NL = 20, "iq4_nl", 32, 18;
    IQ3_S = 21, "iq3_s", 256, 110;
    IQ2_S = 22, "iq2_s", 256, 82;
    IQ4_XS = 23, "iq4_xs", 256, 136;
    I8 = 24, "i8", 1, 1;
    I16 = 25, "i16", 1, 2;
    I32 = 26, "i32", 1, 4;
    I64 = 27, "i64", 1, 8;
    F64 = 28, "f64", 1, 8;
    IQ1_M = 29, "iq1_m", 256, 56;
    BF16 = 30, "bf16", 1, 2;
    TQ1_0 = 34, "tq1_0", 256, 54;
    TQ2_0 = 35, "tq2_0", 256, 66;
    MXFP4 = 39, "mxfp4", 32, 17;
    NVFP4 = 40, "nvfp4", 64, 36;
    Q1_0 = 41, "q1_0", 128, 18;
    Q2_0 = 42, "q2_0", 64, 18;
}

impl GgmlType {
    /// What an id that [`Self::from_id`] does not know once stood for.
    pub(crate) fn why_unknown(id: u32) -> &'static str {
        match id {
            4 => "q4_2, removed from the format in 2023",
            5 => "q4_3, removed from the format in 2023",
            31 => "q4_0_4_4, removed: use q4_0",
            32 => "q4_0_4_8, removed: use q4_0",
            33 => "q4_0_8_8, removed: use q4_0",
            36 => "iq4_nl_4_4, removed: use iq4_nl",
            37 => "iq4_nl_4_8, removed: use iq4_nl",
            38 => "iq4_nl_8_8, removed: use iq4_nl",
            _ => "unknown",
        }
    }
    /// The id in the file format.
    #[must_use]
    pub fn id(self) -> u32 {
        self as u32
    }
    /// Elements in a block.
    #[must_use]
    pub const fn block_elems(self) -> usize {
        self.geometry().0
    }
    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        self.geometry().1
    }
    /// Bytes of a row of `n_cols` elements; `None` if that is no whole number of blocks or overflows.
    #[must_use]
    pub fn row_bytes(self, n_cols: usize) -> Option<usize> {
        let (elems, bytes) = self.geometry();
        if !n_cols.is_multiple_of(elems) {
            return None;
        }
        (n_cols / elems).checked_mul(bytes)
    }
}
