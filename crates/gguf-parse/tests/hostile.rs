//! Files made to do harm, one row each: what is wrong with it, and the code and class of the answer.
//!
//! The rows are those of the project's corpus: H the fixed header, K keys and values, A arrays and alignment, T the
//! tensor table, D the data section. Most are T0, 448 bytes that `golden::hostile::t0` documents by position, with
//! one field overwritten. Whatever the row, the answer is a value: no panic, no signal, no wait.
use ErrorClass::{Malformed, Unsupported};
use gguf_parse::{ErrorClass, Escaped, GgmlType, Gguf, GgufError};
use golden::hostile::{T1, t0};

/// One file, and what must come of it.
struct Row {
    id: &'static str,
    file: Vec<u8>,
    answer: Answer,
}

enum Answer {
    /// Refused with this code and class.
    Refused(&'static str, ErrorClass),
    /// Opened with these warnings, by their codes; the strict check refuses what there is a warning for.
    Opened(&'static [&'static str]),
}
use Answer::{Opened, Refused};

fn row(id: &'static str, answer: Answer, file: Vec<u8>) -> Row {
    Row { id, file, answer }
}

/// A row that the format forbids.
fn bad(id: &'static str, code: &'static str, file: Vec<u8>) -> Row {
    row(id, Refused(code, Malformed), file)
}

/// T0 with `bytes` written over it at `at`.
fn t0_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = t0();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn t0_with_u32(at: usize, x: u32) -> Vec<u8> {
    t0_with(at, &x.to_le_bytes())
}

fn t0_with_u64(at: usize, x: u64) -> Vec<u8> {
    t0_with(at, &x.to_le_bytes())
}

/// A file of these pairs and tensors, with `data` bytes of zeros behind.
fn file(pairs: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let counts = [tensors.len(), pairs.len()].map(|n| (n as u64).to_le_bytes()).concat();
    let mut file = [b"GGUF\x03\0\0\0", &counts[..], &pairs.concat(), &tensors.concat()].concat();
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

/// A file of one pair and the tensor of T0.
fn file_with(pair: Vec<u8>) -> Vec<u8> {
    file(&[pair], &[tensor(b"a", &[32, 2], 0, 0)], 256)
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn pair(key: &[u8], type_id: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), &type_id.to_le_bytes()[..], value].concat()
}

fn array(elem_type_id: u32, n: u64, elems: &[u8]) -> Vec<u8> {
    [&elem_type_id.to_le_bytes()[..], &n.to_le_bytes(), elems].concat()
}

fn tensor(name: &[u8], ne: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let dims: Vec<u8> = ne.iter().flat_map(|n| n.to_le_bytes()).collect();
    let n_dims = u32::try_from(ne.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&text(name), &n_dims[..], &dims, &type_id.to_le_bytes(), &offset.to_le_bytes()].concat()
}

const U8: u32 = 0;
const U32: u32 = 4;
const I32: u32 = 5;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;

fn rows_h() -> Vec<Row> {
    let mut rows = vec![
        bad("H01", "E-TRUNC", Vec::new()),
        bad("H02", "E-TRUNC", b"GGUF".to_vec()),
        bad("H03", "E-TRUNC", t0()[..23].to_vec()),
        bad("H04 GGUX", "E-MAGIC", t0_with(0, b"GGUX")),
        bad("H05", "E-VERSION", t0_with_u32(4, 0)),
        row("H06", Refused("E-VERSION", Unsupported), t0_with_u32(4, 1)),
        row("H07", Refused("E-VERSION", Unsupported), t0_with_u32(4, 4)),
        row("H08", Refused("E-VERSION", Unsupported), t0_with_u32(4, 0x0300_0000)),
        bad("H09", "E-COUNT", t0_with_u64(8, u64::MAX)),
        bad("H10", "E-COUNT", t0_with_u64(8, 1 << 40)),
        bad("H11", "E-COUNT", t0_with_u64(16, 1 << 40)),
        bad("H12", "E-COUNT", t0_with_u64(16, (1 << 63) - 1)),
        row("H13", Refused("E-EMPTY", Unsupported), file(&[], &[], 0)[..24].to_vec()),
        row("H: version 2", Opened(&[]), t0_with_u32(4, 2)),
        row("H: T0 as it is", Opened(&[]), t0()),
    ];
    let others: [&[u8]; 8] = [
        b"GGML....",
        b"lmgg....",
        b"PK\x03\x04....",
        b"<!DOCTYPE html><html>",
        b"\n <html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\x40\0\0\0\0\0\0\0{\"a\":",
        b"{\"error\":\"Invalid credentials\"}",
    ];
    rows.extend(others.iter().map(|other| bad("H04", "E-MAGIC", other.to_vec())));
    // Where a file is cut decides what is missing first: a number, a text, or what a count promised.
    rows.extend((0..448).map(|k| bad("H14", "E-", t0()[..k].to_vec())));
    rows
}

fn rows_k() -> Vec<Row> {
    let many = |n: usize| -> Vec<Vec<u8>> {
        (0..n).map(|i| pair(i.to_string().as_bytes(), U8, &[0])).collect()
    };
    let architecture = |value: &str| pair(b"general.architecture", STRING, &text(value.as_bytes()));
    let key = |key: &[u8]| file_with(pair(key, U8, &[0]));
    vec![
        bad("K01", "E-KEY", t0_with_u64(24, 0)),
        bad("K02", "E-STRLEN", t0_with_u64(24, 1 << 63)),
        bad("K03", "E-STRLEN", t0_with_u64(24, u64::MAX)),
        bad("K04", "E-STRLEN", t0_with_u64(56, (1 << 30) + 1)),
        bad("K05", "E-STRLEN", t0_with_u64(56, 448 - 64 + 1)),
        bad("K06", "E-UTF8", t0_with(32, b"\xff\xfe")),
        bad("K07 inside", "E-KEY", t0_with(40, b"\0")),
        bad("K07 trailing", "E-KEY", t0_with(51, b"\0")),
        bad("K08", "E-DUPKEY", file(&[architecture("llama"), architecture("llama")], &[], 0)),
        bad("K09", "E-DUPKEY", file(&[architecture("llama"), architecture("qwen2")], &[], 0)),
        bad("K10", "E-KVTYPE", t0_with_u32(52, 13)),
        bad("K11", "E-KVTYPE", t0_with_u32(52, u32::MAX)),
        bad("K12", "E-BOOL", file_with(pair(b"b", BOOL, &[2]))),
        // Which architectures there are is for the model to say; K14 is `a_value_of_another_type_is_refused`.
        row("K13 empty", Opened(&[]), file_with(architecture(""))),
        row("K13 long", Opened(&[]), file_with(architecture(&"a".repeat(1 << 20)))),
        row("K13 escape", Opened(&[]), file_with(architecture("\x1b[2J"))),
        row("K15, one less", Opened(&[]), file(&many(65_536), &[], 0)),
        bad("K15", "E-COUNT", file(&many(65_537), &[], 0)),
        row("K16, one less", Opened(&[]), key(&[b'a'; 65_535])),
        bad("K16", "E-KEY", key(&[b'a'; 65_536])),
        bad("K: escape in a key", "E-KEY", key(b"\x1b[2J")),
        row("K: string of 16 MiB", Opened(&[]), file_with(architecture(&"a".repeat(16 << 20)))),
        bad(
            "K: string over 16 MiB",
            "E-STRLEN",
            file_with(architecture(&"a".repeat((16 << 20) + 1))),
        ),
        bad("K: value not UTF-8", "E-UTF8", file_with(pair(b"s", STRING, &text(b"\xc3")))),
        bad(
            "K: number cut",
            "E-TRUNC",
            file(&[pair(b"12345678", U64, &[0; 8])], &[], 0)[..50].to_vec(),
        ),
    ]
}

fn rows_a() -> Vec<Row> {
    let alignment = |type_id, value: &[u8]| file_with(pair(b"general.alignment", type_id, value));
    let aligned = |bytes: u32| {
        let pair = pair(b"general.alignment", U32, &bytes.to_le_bytes());
        let mut file = file(&[pair], &[tensor(b"a", &[8], 0, 0)], 0);
        file.resize(file.len().next_multiple_of(bytes as usize) + 32, 0);
        file
    };
    let list = |elem_type_id, n, elems: &[u8]| {
        file_with(pair(b"list", ARRAY, &array(elem_type_id, n, elems)))
    };
    let nested = [array(ARRAY, 1, &[]).repeat(10_000), array(U8, 0, &[])].concat();
    let limit = 1 << 24;
    vec![
        bad("A01", "E-ALIGN", t0_with_u32(98, 0)),
        bad("A02", "E-ALIGN", t0_with_u32(98, 3)),
        bad("A03", "E-ALIGN", t0_with_u32(98, 1 << 31)),
        bad("A04 i32", "E-KEYTYPE", alignment(I32, &32_u32.to_le_bytes())),
        bad("A04 u64", "E-KEYTYPE", alignment(U64, &32_u64.to_le_bytes())),
        bad("A04 string", "E-KEYTYPE", alignment(STRING, &text(b"32"))),
        row("A05, half", Opened(&[]), aligned(1 << 20)),
        bad("A05", "E-ALIGN", aligned(2 << 20)),
        bad("A06", "E-ARRLEN", t0_with_u64(121, u64::MAX)),
        bad("A07", "E-ARRLEN", t0_with_u64(121, 1 << 30)),
        // The array is a fine one: what one element more breaks is the table behind it, shifted by a byte.
        bad("A08", "E-NAME", t0_with_u64(121, 5)),
        bad(
            "A: one element more than there are bytes",
            "E-ARRLEN",
            t0_with_u64(121, 448 - 129 + 1),
        ),
        row("A09", Refused("E-NESTED", Unsupported), t0_with_u32(117, 9)),
        row("A10", Refused("E-NESTED", Unsupported), file_with(pair(b"deep", ARRAY, &nested))),
        bad("A11", "E-KVTYPE", t0_with_u32(117, 13)),
        row("A12", Opened(&[]), list(STRING, 10_000_000, &vec![0; 80_000_000])),
        row("A: 2^24 bytes", Opened(&[]), list(U8, limit, &vec![0; 1 << 24])),
        bad("A: 2^24 + 1 bytes", "E-ARRLEN", list(U8, limit + 1, &vec![0; (1 << 24) + 1])),
        bad("A13", "E-BOOL", list(BOOL, 3, &[0, 1, 7])),
        bad("A: a string that claims too much", "E-STRLEN", list(STRING, 1, &[0xff; 8])),
        bad("A: a string that is not UTF-8", "E-UTF8", list(STRING, 1, &text(b"a\xff"))),
    ]
}

fn rows_t() -> Vec<Row> {
    let table = |rows: &[Vec<u8>], data| file(&[], rows, data);
    let shaped = |ne: &[u64]| table(&[tensor(b"a", ne, 0, 0)], 256);
    let named = |name: &[u8]| table(&[tensor(name, &[64], 0, 0)], 256);
    let pair_at = |a, b| table(&[tensor(b"a", &[8], 0, a), tensor(b"b", &[8], 0, b)], 64);
    vec![
        bad("T01", "E-NDIMS", t0_with_u32(142, 5)),
        bad("T02", "E-NDIMS", t0_with_u32(142, u32::MAX)),
        bad("T03", "E-NDIMS", shaped(&[])),
        bad("T04", "E-DIM", t0_with_u64(146, u64::MAX)),
        bad("T05", "E-DIM", t0_with_u64(146, 0)),
        bad("T06", "E-OVERFLOW", shaped(&[1 << 62, 4])),
        bad("T07", "E-OVERFLOW", shaped(&[1 << 32, 1 << 32])),
        bad("T08", "E-OVERFLOW", shaped(&[(1 << 63) - 1, 2])),
        bad("T09", "E-OVERFLOW", t0_with_u64(146, (1 << 42) + 1)),
        bad("T: bytes wrap, elements do not", "E-OVERFLOW", shaped(&[1 << 62])),
        row("T10", Refused("E-DTYPE", Unsupported), t0_with_u32(162, 99)),
        row("T11", Refused("E-DTYPE", Unsupported), t0_with_u32(162, 4)),
        row("T12", Refused("E-DTYPE", Unsupported), t0_with_u32(162, u32::MAX)),
        bad("T13", "E-BLOCK", table(&[tensor(b"a", &[33], 2, 0)], 256)),
        bad("T15", "E-OFFSET", t0_with_u64(166, 1)),
        bad("T16", "E-OFFSET", t0_with_u64(166, 1 << 63)),
        bad("T17", "E-OFFSET", t0_with_u64(166, 32)),
        row("T18, as it should be", Opened(&[]), pair_at(0, 32)),
        bad("T18", "E-OFFSET", pair_at(0, 0)),
        bad("T19", "E-OFFSET", pair_at(32, 0)),
        bad("T: a gap", "E-OFFSET", pair_at(0, 64)),
        bad(
            "T20",
            "E-DUPTENSOR",
            table(&[tensor(b"a", &[8], 0, 0), tensor(b"a", &[8], 0, 32)], 64),
        ),
        bad("T21 none", "E-NAME", named(b"")),
        bad("T21 64", "E-NAME", named(&[b'a'; 64])),
        bad("T21 2^20", "E-NAME", named(&[b'a'; 1 << 20])),
        bad("T21 2^20 claimed", "E-NAME", t0_with_u64(133, 1 << 20)),
        row("T21, one less than 64", Opened(&[]), named(&[b'a'; 63])),
        bad("T22 escape", "E-NAME", named(b"\x1b[2J")),
        bad("T22 newline", "E-NAME", named(b"a\nb")),
        bad("T22 path", "E-NAME", named(b"../../a")),
        row("T22, two dots that are no path", Opened(&[]), named(b"blk..a")),
        bad("T: name not UTF-8", "E-UTF8", named(b"\xff")),
        bad("T: 2^16 + 1 tensors", "E-COUNT", table(&vec![tensor(b"a", &[8], 0, 0); 65_537], 0)),
    ]
}

/// T14: every type id with a row of one element less than a block.
fn rows_t14() -> impl Iterator<Item = Row> {
    (0..=64).map(|id| {
        let ty = GgmlType::from_id(id);
        let ne0 = ty.map_or(31, |ty| ty.block_elems() as u64 - 1);
        let answer = match ty {
            None => Refused("E-DTYPE", Unsupported),
            Some(_) if ne0 == 0 => Refused("E-DIM", Malformed),
            Some(_) => Refused("E-BLOCK", Malformed),
        };
        row("T14", answer, file(&[], &[tensor(b"a", &[ne0], id, 0)], 256))
    })
}

fn rows_d() -> Vec<Row> {
    let t1 = T1::new().build();
    let zip = [&t1[..], &b"PK\x03\x04".repeat(9)].concat();
    let mut between = file(&[], &[tensor(b"a", &[1], 0, 0), tensor(b"b", &[8], 0, 32)], 64);
    let data = between.len() - 64;
    between[data + 31] = 1;
    let metadata_only =
        [&b"GGUF\x03\0\0\0"[..], &[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0], &pair(b"k", U8, &[1])]
            .concat();
    vec![
        bad("D01", "E-TRUNC", t0()[..447].to_vec()),
        bad("D02", "E-TRUNC", t0()[..192].to_vec()),
        bad("D03", "E-TRUNC", t0()[..180].to_vec()),
        bad("D04", "E-TRUNC", t1[..t1.len() - 1].to_vec()),
        row("D: T1 as it is", Opened(&[]), t1),
        row("D05", Opened(&["W-TRAILING"]), zip),
        row("D06", Opened(&["W-PADDING"]), t0_with(180, b"x")),
        row("D06 between tensors", Opened(&["W-PADDING"]), between),
        row(
            "D: the last padding is missing",
            Opened(&[]),
            file(&[], &[tensor(b"a", &[1], 0, 0)], 4),
        ),
        row("D: no tensors", Opened(&[]), metadata_only.clone()),
        row(
            "D: no tensors, trailing",
            Opened(&["W-TRAILING"]),
            [&metadata_only[..], &[0; 32]].concat(),
        ),
        row(
            "D: no tensors, other padding",
            Opened(&["W-PADDING"]),
            [&metadata_only[..], b"x"].concat(),
        ),
    ]
}

#[test]
fn every_row_is_answered_as_written() {
    let rows = rows_h()
        .into_iter()
        .chain(rows_k())
        .chain(rows_a())
        .chain(rows_t())
        .chain(rows_t14())
        .chain(rows_d());
    let mut n = 0;
    let mut wrong = Vec::new();
    for Row { id, file, answer } in rows {
        n += 1;
        let opened = Gguf::from_bytes(file);
        let problem = match (&opened, answer) {
            (Err(error), Refused(code, class))
                if error.code().starts_with(code) && error.class() == class =>
            {
                unfit_message(error)
            }
            (_, Refused(code, class)) => Some(format!("must be {code} {class:?}")),
            (Ok(gguf), Opened(warnings)) => unfit_warnings(gguf, warnings),
            (Err(_), Opened(_)) => Some("must open".to_string()),
        };
        if let Some(problem) = problem {
            let found = opened.map_or_else(
                |e| format!("{} {:?}: {e}", e.code(), e.class()),
                |g| format!("{g:?}"),
            );
            wrong.push(format!("{id}: {found}; {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {n} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(n, 627, "the number of rows");
}

/// What is wrong with an error's message: it is one line that says what was found and what must be, no more.
fn unfit_message(error: &GgufError) -> Option<String> {
    let message = error.to_string();
    if !message.contains("; must") {
        return Some("the message does not say what must be".to_string());
    }
    if message.len() > 300 || message.contains(char::is_control) {
        return Some("the message is unfit to print".to_string());
    }
    None
}

/// What is wrong with the warnings of a file: others than expected, or not refused by the strict check.
fn unfit_warnings(gguf: &Gguf, expected: &[&str]) -> Option<String> {
    let found: Vec<&str> =
        gguf.warnings().iter().filter_map(|warning| warning.split(':').next()).collect();
    if found != expected {
        return Some(format!("the warnings are {found:?}, must be {expected:?}"));
    }
    let strict = gguf.check_strict().err();
    let refused = strict.map(|error| (error.code().replace("E-", "W-"), error.class()));
    let must = expected.first().map(|code| ((*code).to_string(), Malformed));
    (refused != must).then(|| format!("the strict check says {refused:?}"))
}

#[test]
fn a_value_of_another_type_is_refused() {
    let file = file_with(pair(b"general.architecture", U32, &7_u32.to_le_bytes()));
    let gguf = Gguf::from_bytes(file).unwrap();
    let error = gguf.metadata().get::<&str>("general.architecture").unwrap_err();
    assert_eq!((error.code(), error.class()), ("E-KEYTYPE", Malformed));
    assert_eq!(
        error.to_string(),
        r#"the type of "general.architecture" is u32; must be str (byte 52)"#
    );
}

#[test]
fn text_of_a_file_is_printed_safely() {
    let name = format!("\x1b[2J{}", "a".repeat(1 << 20));
    let gguf = Gguf::from_bytes(T1::new().set_str("general.architecture", &name).build()).unwrap();
    let shown = Escaped(gguf.metadata().get("general.architecture").unwrap()).to_string();
    assert!(shown.starts_with(r#""\u{1b}[2Ja"#) && shown.chars().count() <= 67, "{shown}");
}

#[test]
fn messages_say_where_and_what_to_do() {
    let message = |file: Vec<u8>| Gguf::from_bytes(file).unwrap_err().to_string();
    assert_eq!(
        message(t0()[..447].to_vec()),
        r#"tensor "a" needs 256 bytes at byte 192, the file has 447; must be whole: truncated download?"#
    );
    assert_eq!(
        message(t0_with_u32(98, 3)),
        "general.alignment is 3; must be a power of two, at most 1048576 (byte 98)"
    );
    assert_eq!(
        message(t0()[..66].to_vec()),
        r#"the length of the string "general.architecture" is 5; must be at most 2 (byte 56), the file ends: truncated download?"#
    );
    assert_eq!(
        message(t0_with_u64(56, 1 << 40)),
        r#"the length of the string "general.architecture" is 1099511627776; must be at most 384 (byte 56)"#
    );
    assert_eq!(
        message(t0_with_u32(4, 4)),
        "the version is 4; must be 2 or 3 (byte 4): this file is newer than v3"
    );
    assert_eq!(
        message(t0_with_u64(166, 32)),
        r#"the offset of tensor "a" is 32; must be 0, where the tensor before ends (byte 166)"#
    );
    assert_eq!(
        message(b"version https://git-lfs.github.com/spec/v1\n".to_vec()),
        r#"the magic is "vers"; must be "GGUF" (byte 0): this is a Git LFS pointer; run `git lfs pull`"#
    );
    assert_eq!(
        message(t0_with_u32(162, 31)),
        r#"the type of tensor "a" is 31 (q4_0_4_4, removed: use q4_0); must be one of ggml's types 0 to 42 (byte 162)"#
    );
    assert_eq!(
        message(t0_with(45, b"\xff")),
        "a metadata key is not valid UTF-8; must be text (byte 45)"
    );
}
