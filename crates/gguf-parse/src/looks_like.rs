//! What a file is that is no GGUF file, so that the error can say what to do about it.

/// Beginnings, and what they tell.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "this is a Git LFS pointer; run `git lfs pull`"),
    (
        b"PK\x03\x04",
        "this is a ZIP archive, perhaps a PyTorch checkpoint; convert it to GGUF first",
    ),
    (b"\x1f\x8b", "this is gzip data; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "this is Zstandard data; decompress it first"),
    (b"lmgg", "this is an old GGML file; convert the model again"),
    (b"fmgg", "this is an old GGMF file; convert the model again"),
    (b"tjgg", "this is an old GGJT file; convert the model again"),
    (b"algg", "this is an old GGLA file; convert the adapter again"),
    (b"GGML", "this looks like an old GGML file; convert the model again"),
    (b"\0\0\0\0", "this begins with zeros: interrupted download?"),
];

/// One sentence on what `file` looks like.
pub(crate) fn looks_like(file: &[u8]) -> &'static str {
    // A web page may begin with blanks, but not with gigabytes of them.
    let file = file.get(..1024).unwrap_or(file);
    if let Some((_, hint)) = BEGINNINGS.iter().find(|(start, _)| file.starts_with(start)) {
        return hint;
    }
    // safetensors: the length of a JSON object, then the object.
    if file.get(8) == Some(&b'{') && file.get(5..8) == Some(&[0; 3]) {
        return "this is a safetensors file; convert it to GGUF first";
    }
    match file.trim_ascii_start().first() {
        Some(b'<') => "this is a web page; download the file itself",
        Some(b'{' | b'[') => "this is JSON text; download the model file itself",
        _ => "this is no GGUF file",
    }
}
