//! T1: the smallest llama model that runs, and every way to change it.
use super::{put_string, put_u32, put_u64, value_type};

/// T1, a runnable llama with random weights: `n_embd` 32, 1 layer, 4 heads (4 of them K/V), `n_ff` 64, context 64,
/// rotation of 8, 262 tokens, 12 F32 tensors. Each method changes one thing; [`T1::build`] lays down the file.
///
/// Keys and tensors keep their places when they are set again; new ones go last.
#[derive(Debug, Clone)]
pub struct T1 {
    /// Key, then type and value as the file holds them.
    pairs: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    ne: Vec<u64>,
    type_id: u32,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    /// F32 from a generator seeded with the tensor's name: around 1 for norms, around 0 for the rest.
    Random,
    /// F32, all alike.
    Fill(f32),
    /// As given.
    Bytes(Vec<u8>),
}

impl Default for T1 {
    fn default() -> Self {
        Self::new()
    }
}

impl T1 {
    /// The model as it runs, with an SPM vocabulary: `<unk>`, `<s>`, `</s>`, 256 bytes, and 3 pieces.
    #[must_use]
    pub fn new() -> Self {
        let tokens = Self::tokens();
        // Types: 1 normal, 2 unknown, 3 control, 6 byte.
        let types: Vec<i32> = (0..262)
            .map(|id| [2, 3, 3].get(id).copied().unwrap_or(if id < 259 { 6 } else { 1 }))
            .collect();
        let scores: Vec<f32> =
            (0..262_i16).map(|id| if id < 259 { 0.0 } else { f32::from(258 - id) }).collect();
        Self::without_vocabulary()
            .set_str("tokenizer.ggml.model", "llama")
            .set_str("tokenizer.ggml.pre", "default")
            .set_strs("tokenizer.ggml.tokens", &tokens)
            .set_f32s("tokenizer.ggml.scores", &scores)
            .set_i32s("tokenizer.ggml.token_type", &types)
            .set_u32("tokenizer.ggml.bos_token_id", 1)
            .set_u32("tokenizer.ggml.eos_token_id", 2)
            .set_u32("tokenizer.ggml.unknown_token_id", 0)
            .set_bool("tokenizer.ggml.add_bos_token", true)
            .set_bool("tokenizer.ggml.add_eos_token", false)
    }

    /// The same model with a byte-level BPE vocabulary: 256 bytes in GPT-2's alphabet, four merged pieces and two
    /// control tokens, of which the last is BOS and EOS.
    #[must_use]
    pub fn bpe() -> Self {
        let mut tokens: Vec<Vec<u8>> =
            byte_alphabet().into_iter().map(|c| c.to_string().into_bytes()).collect();
        tokens.extend(
            ["ab", "abc", "Ġa", "Ġab", "<|start|>", "<|endoftext|>"].map(|t| t.as_bytes().to_vec()),
        );
        let types: Vec<i32> = (0..262).map(|id| if id < 260 { 1 } else { 3 }).collect();
        Self::without_vocabulary()
            .set_str("tokenizer.ggml.model", "gpt2")
            .set_str("tokenizer.ggml.pre", "gpt-2")
            .set_strs("tokenizer.ggml.tokens", &tokens)
            .set_i32s("tokenizer.ggml.token_type", &types)
            .set_strs("tokenizer.ggml.merges", &["a b", "ab c", "Ġ a", "Ġa b"])
            .set_u32("tokenizer.ggml.bos_token_id", 261)
            .set_u32("tokenizer.ggml.eos_token_id", 261)
    }

    /// A file with nothing in it, to begin from.
    #[must_use]
    pub fn empty() -> Self {
        Self { pairs: Vec::new(), tensors: Vec::new() }
    }

    fn without_vocabulary() -> Self {
        let mut model = Self::empty()
            .set_str("general.architecture", "llama")
            .set_str("general.name", "T1")
            .set_u32("general.file_type", 0)
            .set_u32("llama.block_count", 1)
            .set_u32("llama.context_length", 64)
            .set_u32("llama.embedding_length", 32)
            .set_u32("llama.feed_forward_length", 64)
            .set_u32("llama.attention.head_count", 4)
            .set_u32("llama.attention.head_count_kv", 4)
            .set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .set_f32("llama.rope.freq_base", 10000.0)
            .set_u32("llama.rope.dimension_count", 8)
            .set_u32("llama.vocab_size", 262);
        let shapes: [(&str, &[u64]); 12] = [
            ("token_embd.weight", &[32, 262]),
            ("output_norm.weight", &[32]),
            ("output.weight", &[32, 262]),
            ("blk.0.attn_norm.weight", &[32]),
            ("blk.0.attn_q.weight", &[32, 32]),
            ("blk.0.attn_k.weight", &[32, 32]),
            ("blk.0.attn_v.weight", &[32, 32]),
            ("blk.0.attn_output.weight", &[32, 32]),
            ("blk.0.ffn_norm.weight", &[32]),
            ("blk.0.ffn_gate.weight", &[32, 64]),
            ("blk.0.ffn_up.weight", &[32, 64]),
            ("blk.0.ffn_down.weight", &[64, 32]),
        ];
        for (name, ne) in shapes {
            model = model.add_tensor(name, ne);
        }
        model
    }

    /// The 262 token texts of [`T1::new`], in order of their ids.
    #[must_use]
    pub fn tokens() -> Vec<Vec<u8>> {
        let special = ["<unk>", "<s>", "</s>"].map(str::to_string);
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let pieces = ["\u{2581}", "a", "\u{2581}a"].map(str::to_string);
        special.into_iter().chain(bytes).chain(pieces).map(String::into_bytes).collect()
    }

    /// Sets a `u32`.
    #[must_use]
    pub fn set_u32(self, key: &str, value: u32) -> Self {
        self.set_raw(key, value_type::U32, &value.to_le_bytes())
    }

    /// Sets an `f32`.
    #[must_use]
    pub fn set_f32(self, key: &str, value: f32) -> Self {
        self.set_raw(key, value_type::F32, &value.to_le_bytes())
    }

    /// Sets a bool.
    #[must_use]
    pub fn set_bool(self, key: &str, value: bool) -> Self {
        self.set_raw(key, value_type::BOOL, &[u8::from(value)])
    }

    /// Sets a string.
    #[must_use]
    pub fn set_str(self, key: &str, value: &str) -> Self {
        let mut bytes = Vec::new();
        put_string(&mut bytes, value.as_bytes());
        self.set_raw(key, value_type::STRING, &bytes)
    }

    /// Sets an array of strings, which need not be UTF-8.
    #[must_use]
    pub fn set_strs(self, key: &str, items: &[impl AsRef<[u8]>]) -> Self {
        let mut bytes = Vec::new();
        for item in items {
            put_string(&mut bytes, item.as_ref());
        }
        self.set_array(key, value_type::STRING, items.len() as u64, &bytes)
    }

    /// Sets an array of `f32`.
    #[must_use]
    pub fn set_f32s(self, key: &str, items: &[f32]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.set_array(key, value_type::F32, items.len() as u64, &bytes)
    }

    /// Sets an array of `i32`.
    #[must_use]
    pub fn set_i32s(self, key: &str, items: &[i32]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.set_array(key, value_type::I32, items.len() as u64, &bytes)
    }

    /// Sets an array of `u32`.
    #[must_use]
    pub fn set_u32s(self, key: &str, items: &[u32]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.set_array(key, value_type::U32, items.len() as u64, &bytes)
    }

    /// Sets an array of `u8`.
    #[must_use]
    pub fn set_u8s(self, key: &str, items: &[u8]) -> Self {
        self.set_array(key, value_type::U8, items.len() as u64, items)
    }

    /// Sets an array: the id of its element type, the number of elements it claims, and their bytes.
    #[must_use]
    pub fn set_array(self, key: &str, elem_type_id: u32, n: u64, bytes: &[u8]) -> Self {
        let mut value = Vec::new();
        put_u32(&mut value, elem_type_id);
        put_u64(&mut value, n);
        value.extend(bytes);
        self.set_raw(key, value_type::ARRAY, &value)
    }

    /// Sets a value of any type: its id, and the bytes that follow it.
    #[must_use]
    pub fn set_raw(mut self, key: &str, type_id: u32, bytes: &[u8]) -> Self {
        let mut encoded = type_id.to_le_bytes().to_vec();
        encoded.extend(bytes);
        match self.pairs.iter_mut().find(|(have, _)| have == key) {
            Some((_, old)) => *old = encoded,
            None => self.pairs.push((key.to_string(), encoded)),
        }
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn remove(mut self, key: &str) -> Self {
        self.pairs.retain(|(have, _)| have != key);
        self
    }

    /// Adds an F32 tensor of random numbers; dimensions innermost first.
    #[must_use]
    pub fn add_tensor(mut self, name: &str, ne: &[u64]) -> Self {
        self.tensors.push(Tensor {
            name: name.to_string(),
            ne: ne.to_vec(),
            type_id: 0,
            data: Data::Random,
        });
        self
    }

    /// Removes a tensor.
    #[must_use]
    pub fn remove_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// Gives a tensor another name.
    /// # Panics
    /// There is no such tensor.
    #[must_use]
    pub fn rename_tensor(self, name: &str, new: &str) -> Self {
        self.change(name, |tensor| tensor.name = new.to_string())
    }

    /// Gives a tensor another shape, innermost dimension first.
    /// # Panics
    /// There is no such tensor.
    #[must_use]
    pub fn reshape_tensor(self, name: &str, ne: &[u64]) -> Self {
        self.change(name, |tensor| tensor.ne = ne.to_vec())
    }

    /// Fills an F32 tensor with one number.
    /// # Panics
    /// There is no such tensor.
    #[must_use]
    pub fn fill_tensor(self, name: &str, x: f32) -> Self {
        self.change(name, |tensor| tensor.data = Data::Fill(x))
    }

    /// Fills every tensor with one number.
    #[must_use]
    pub fn fill_all(mut self, x: f32) -> Self {
        self.tensors.iter_mut().for_each(|tensor| tensor.data = Data::Fill(x));
        self
    }

    /// Replaces a tensor's type (by id) and bytes.
    /// # Panics
    /// There is no such tensor.
    #[must_use]
    pub fn set_tensor_bytes(self, name: &str, type_id: u32, bytes: &[u8]) -> Self {
        self.change(name, |tensor| {
            (tensor.type_id, tensor.data) = (type_id, Data::Bytes(bytes.to_vec()))
        })
    }

    fn change(mut self, name: &str, change: impl Fn(&mut Tensor)) -> Self {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        assert!(found.is_some(), "T1 has no tensor {name}");
        found.into_iter().for_each(change);
        self
    }

    /// The file.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let (mut file, _) = self.header();
        for tensor in &self.tensors {
            tensor.write(&mut file);
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        }
        file
    }

    /// The file up to its data section, and the size it has with the data: for files too large to be built, which
    /// are made by setting a file's length.
    #[must_use]
    pub fn header(&self) -> (Vec<u8>, u64) {
        let mut file = b"GGUF".to_vec();
        put_u32(&mut file, 3);
        put_u64(&mut file, self.tensors.len() as u64);
        put_u64(&mut file, self.pairs.len() as u64);
        for (key, encoded) in &self.pairs {
            put_string(&mut file, key.as_bytes());
            file.extend(encoded);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_string(&mut file, tensor.name.as_bytes());
            put_u32(&mut file, u32::try_from(tensor.ne.len()).unwrap_or(u32::MAX));
            file.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
            put_u32(&mut file, tensor.type_id);
            put_u64(&mut file, offset);
            offset = (offset + tensor.n_bytes()).next_multiple_of(ALIGNMENT as u64);
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        let size = file.len() as u64 + offset;
        (file, size)
    }
}

/// What a file without `general.alignment` has.
const ALIGNMENT: usize = 32;

impl Tensor {
    fn n_bytes(&self) -> u64 {
        match &self.data {
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::Random | Data::Fill(_) => 4 * self.ne.iter().product::<u64>(),
        }
    }

    fn write(&self, file: &mut Vec<u8>) {
        let n = self.n_bytes() / 4;
        match &self.data {
            Data::Bytes(bytes) => file.extend(bytes),
            Data::Fill(x) => (0..n).for_each(|_| file.extend(x.to_le_bytes())),
            Data::Random => {
                let center = if self.name.contains("norm") { 1.0 } else { 0.0 };
                let mut state =
                    self.name.bytes().fold(1_u32, |state, byte| step(state ^ u32::from(byte)));
                for _ in 0..n {
                    state = step(state);
                    // 16 bits: exact in f32.
                    let x = f32::from((state >> 16) as u16) / 65536.0 - 0.5;
                    file.extend((center + x / 4.0).to_le_bytes());
                }
            }
        }
    }
}

/// A linear congruential generator: what it is good for is to be the same everywhere.
fn step(state: u32) -> u32 {
    state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

/// The characters that stand for the 256 bytes in GPT-2's vocabulary: printable Latin-1 for itself, the others from
/// U+0100 on.
fn byte_alphabet() -> Vec<char> {
    let mut next = 0x100;
    (0..=255_u8)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap_or(' ')
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::T1;

    #[test]
    fn both_vocabularies_have_262_different_tokens() {
        for model in [T1::new(), T1::bpe()] {
            let (_, value) =
                model.pairs.iter().find(|(key, _)| key == "tokenizer.ggml.tokens").unwrap();
            assert_eq!(
                &value[..16],
                [&9_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &262_u64.to_le_bytes()].concat()
            );
        }
        let distinct: std::collections::HashSet<_> = T1::tokens().into_iter().collect();
        assert_eq!(distinct.len(), 262);
    }

    #[test]
    fn the_size_told_is_the_size_built() {
        assert_eq!(T1::new().build().len() as u64, T1::new().header().1);
    }
}
