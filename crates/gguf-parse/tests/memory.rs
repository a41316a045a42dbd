//! What opening a file costs, whatever it claims: row H16 and the memory of row A12. One test, because the memory
//! measured is that of the process.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]
use gguf_parse::Gguf;
use golden::hostile::{T1, t0};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// The most memory this process has had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") >> 10
}

/// A file of `parts` at their positions, zeros between them, and `len` bytes long.
fn sparse(path: &Path, parts: &[(u64, &[u8])], len: u64) {
    let mut file = File::create(path).expect("created");
    for (at, bytes) in parts {
        file.seek(SeekFrom::Start(*at)).expect("sought");
        file.write_all(bytes).expect("written");
    }
    file.set_len(len).expect("a file system with sparse files");
}

/// A header that claims no tensors and `n_kv` pairs.
fn start(n_kv: u64) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &[0; 8], &n_kv.to_le_bytes()].concat()
}

/// The start of a pair: its key and type.
fn pair(key: &str, type_id: u32) -> Vec<u8> {
    [&(key.len() as u64).to_le_bytes(), key.as_bytes(), &type_id.to_le_bytes()].concat()
}

const MIB: u64 = 1 << 20;

#[test]
fn no_file_costs_more_than_it_is_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");

    // H16: a tebibyte behind T0.
    sparse(&path, &[(0, &t0())], 1 << 40);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.check_strict().unwrap_err().code(), "E-TRAILING");
    assert_eq!(gguf.file_bytes(), 1 << 40);
    // A tensor of four tebibytes, of which the file has one.
    let (header, _) = T1::new().reshape_tensor("token_embd.weight", &[1 << 20, 1 << 20]).header();
    sparse(&path, &[(0, &header)], 1 << 40);
    assert_eq!(Gguf::open(&path).unwrap_err().code(), "E-TRUNC");
    assert!(peak_mib() < 64, "{} MiB for sparse files", peak_mib());

    // A12: ten million empty strings, 80 MB.
    let strings =
        [&start(1)[..], &pair("a", 9), &8_u32.to_le_bytes(), &10_000_000_u64.to_le_bytes()]
            .concat();
    sparse(&path, &[(0, &strings)], strings.len() as u64 + 80_000_000);
    let gguf = Gguf::open(&path).unwrap();
    assert!(gguf.warnings().is_empty(), "{:?}", gguf.warnings());
    assert!(peak_mib() < 64 + 80, "{} MiB for 80 MB of strings", peak_mib());

    // Metadata without end: strings of 16 MiB each.
    let string = [&pair("s", 8)[..], &(16 * MIB).to_le_bytes()].concat();
    let parts: Vec<(u64, Vec<u8>)> =
        (0..17).map(|i| (24 + i * (16 * MIB + string.len() as u64), string.clone())).collect();
    let mut parts: Vec<(u64, &[u8])> = parts.iter().map(|(at, bytes)| (*at, &bytes[..])).collect();
    let start = start(17);
    parts.push((0, &start));
    sparse(&path, &parts, 1 << 40);
    assert_eq!(Gguf::open(&path).unwrap_err().code(), "E-METASIZE");
    assert!(peak_mib() < 64 + 256, "{} MiB for the most metadata there may be", peak_mib());
}
