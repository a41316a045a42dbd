//! Pages of a file that are let go no longer count, and read the same again. One test, because the memory measured is
//! that of the process.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]
use gguf_parse::{GgmlType, Gguf, GgufPlan};

/// What this process has in memory of files, in KiB.
fn file_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("RssFile");
    line.trim().trim_end_matches(" kB").parse().expect("kB")
}

#[test]
fn released_pages_are_gone_and_come_back() {
    const N: usize = 8 << 20;
    let data: Vec<u8> = (0..N).map(|i| (i * 31 % 251).to_le_bytes()[0]).collect();
    let mut plan = GgufPlan::new();
    plan.tensor("a", GgmlType::F32, &[N as u64 / 4]).tensor("b", GgmlType::F32, &[N as u64 / 4]);
    let bytes = plan.to_bytes(&[&data, &data]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, &bytes).unwrap();

    let gguf = Gguf::open(&path).unwrap();
    let [a, b] = ["a", "b"].map(|name| gguf.tensor(name).unwrap().data);
    // The margins are wide: a page that is read may bring up to 2 MiB along.
    let before = file_kib();
    assert!(a == data && b == data, "as written");
    let read = file_kib();
    assert!(read >= before + 12 * 1024, "{before} KiB, then {read}");
    gguf.release(a);
    let released = file_kib();
    assert!(released + 5 * 1024 <= read, "{read} KiB, then {released}");
    gguf.release(&b[N / 2 + 1..]);
    let more = file_kib();
    assert!(more + 2 * 1024 <= released, "{released} KiB, then {more}");
    assert!(a == data && b == data, "as before");

    // Nothing happens to what is no part of the file, or not mapped.
    gguf.release(&data);
    gguf.release(&[]);
    let in_memory = Gguf::from_bytes(bytes).unwrap();
    let a = in_memory.tensor("a").unwrap().data;
    in_memory.release(a);
    assert!(a == data, "in memory");
}
