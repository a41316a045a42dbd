//! Hostile models and arguments: one error, its exit status, at once, in little memory.
//!
//! Models are T1 with one thing changed. Every run may allocate at most [`MAX_MIB`] (`RLIMIT_DATA`, which leaves
//! mapped files alone): what would allocate by what a file says dies here. Rows are named as in the project's corpus: M
//! hyper-parameters, V vocabulary, C command line (C11, streams and arguments that are odd, is `streams.rs`), K13 names;
//! H, K, A, T and D are rows of `gguf-parse/tests/hostile.rs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, TempFile, finish, lockstep};
use golden::hostile::T1;
use std::{process::Command, time::Duration};

const MAX_MIB: u32 = 256;
/// A hang shows, a loaded machine does not.
const MAX_TIME: Duration = Duration::from_secs(20);

/// What must come of a run: a status, and what standard error says.
struct Row {
    id: &'static str,
    model: T1,
    args: &'static [&'static str],
    status: i32,
    says: &'static [&'static str],
}

/// A model that must be refused as malformed, with this code.
fn malformed(id: &'static str, model: T1, code: &'static [&'static str]) -> Row {
    Row { id, model, args: &[], status: 65, says: code }
}

/// A model that must run, with a warning perhaps.
fn runs(id: &'static str, model: T1, says: &'static [&'static str]) -> Row {
    Row { id, model, args: &[], status: 0, says }
}

/// T1 with `llama.KEY` = a number.
fn t1(key: &str, value: u32) -> T1 {
    T1::new().set_u32(&format!("llama.{key}"), value)
}

fn t1_f32(key: &str, value: f32) -> T1 {
    T1::new().set_f32(&format!("llama.{key}"), value)
}

const HPARAM: &[&str] = &["error[E-HPARAM]"];

fn hyper_parameters() -> Vec<Row> {
    let heads = "attention.head_count";
    let heads_kv = "attention.head_count_kv";
    let eps = "attention.layer_norm_rms_epsilon";
    let two: &[u32] = &[4, 4];
    vec![
        malformed("M01", t1(heads, 0), HPARAM),
        malformed("M02", t1(heads, 3), HPARAM),
        malformed("M03", t1(heads, 1 << 31), HPARAM),
        malformed("M04", t1(heads_kv, 0), HPARAM),
        malformed("M05", t1(heads_kv, 3), HPARAM),
        malformed("M06", t1(heads_kv, 8), HPARAM),
        malformed("M07", t1("block_count", 0), HPARAM),
        malformed("M08", t1("block_count", 513), HPARAM),
        malformed("M09", t1("block_count", u32::MAX), HPARAM),
        malformed("M10", t1("embedding_length", 0), HPARAM),
        malformed("M11", t1("embedding_length", 33), HPARAM),
        malformed("M12", t1("context_length", 0), HPARAM),
        malformed("M14", t1("rope.dimension_count", 7), HPARAM),
        malformed("M15", t1("rope.dimension_count", 0), HPARAM),
        malformed("M16", t1("rope.dimension_count", 64), HPARAM),
        malformed("M17", t1("feed_forward_length", 0), HPARAM),
        malformed("M18", t1("expert_count", u32::MAX), HPARAM),
        malformed("M19", t1("expert_used_count", 5), HPARAM),
        malformed("M20", t1_f32(eps, f32::NAN), HPARAM),
        malformed("M21", t1_f32(eps, 0.0), HPARAM),
        malformed("M22", t1_f32(eps, -1.0), HPARAM),
        malformed("M23", t1_f32("rope.freq_base", 0.0), HPARAM),
        malformed("M24", t1_f32("rope.freq_base", f32::NAN), HPARAM),
        malformed("M25", t1_f32("rope.scaling.factor", f32::INFINITY), HPARAM),
        malformed("M26", T1::new().set_str("llama.context_length", "64"), &["error[E-KEYTYPE]"]),
        malformed("M27", T1::new().set_u32s("llama.attention.head_count", two), HPARAM),
    ]
}

fn tensors() -> Vec<Row> {
    let shape = &["error[E-SHAPE]"];
    let nan = &["error[E-NAN]"];
    let (norm, output) = ("blk.0.attn_norm.weight", "output.weight");
    // Q8_0 is type 8: a block of 32 weights is an f16 scale and 32 bytes.
    let q8_0 = |scale: u16| {
        let block = [&scale.to_le_bytes()[..], &[1; 32]].concat();
        T1::new().set_tensor_bytes(output, 8, &block.repeat(262))
    };
    vec![
        malformed(
            "M28",
            T1::new().remove_tensor("blk.0.ffn_up.weight"),
            &["error[E-TENSOR]", "ffn_up"],
        ),
        runs(
            "M29",
            T1::new().add_tensor("blk.0.extra.weight", &[32]),
            &["warning", "blk.0.extra.weight"],
        ),
        malformed("M30", T1::new().reshape_tensor("blk.0.ffn_up.weight", &[64, 32]), shape),
        malformed("M31", T1::new().reshape_tensor(norm, &[16, 2]), shape),
        malformed("M32", T1::new().fill_all(f32::NAN), nan),
        malformed("M33", T1::new().fill_all(f32::INFINITY), nan),
        malformed("M34 NaN", q8_0(0x7e00), nan),
        malformed("M34 inf", q8_0(0x7c00), nan),
        runs("M34 denormal", q8_0(0x0001), &[]),
    ]
}

fn vocabulary() -> Vec<Row> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let token_id = &["error[E-TOKENID]"];
    let vocab = &["error[E-VOCAB]"];
    let with_token = |id: usize, text: &[u8]| {
        let mut tokens = T1::tokens();
        tokens.resize(tokens.len().max(id + 1), Vec::new());
        text.clone_into(&mut tokens[id]);
        T1::new().set_strs(&key("tokens"), &tokens)
    };
    let no_bytes: Vec<_> = (0..262).map(|id| format!("t{id}")).collect();
    let normal = [&[2, 3, 3][..], &[1; 259]].concat();
    let one: &[&str] = &["<unk>"];
    let none: &[&str] = &[];
    vec![
        malformed("V01", T1::new().set_u32(&key("bos_token_id"), 1_000_000), token_id),
        malformed("V02", T1::new().set_u32(&key("eos_token_id"), u32::MAX), token_id),
        malformed("V03", T1::new().set_f32s(&key("scores"), &[0.0; 261]), vocab),
        malformed("V04", T1::new().set_u8s(&key("scores"), &[0; 262]), &["error[E-KEYTYPE]"]),
        malformed("V05", T1::new().set_i32s(&key("token_type"), &[1; 261]), vocab),
        malformed("V06", T1::new().set_strs(&key("tokens"), one), &["error[E-"]),
        malformed(
            "V07",
            with_token(262, b"new")
                .set_f32s(&key("scores"), &[0.0; 263])
                .set_i32s(&key("token_type"), &[&[2, 3, 3][..], &[6; 256], &[1; 4]].concat()),
            HPARAM,
        ),
        malformed("V08", T1::new().set_strs(&key("tokens"), none), vocab),
        runs("V09", with_token(261, b"a"), &["warning"]),
        malformed("V10", with_token(261, b"\xff\xfe"), &["error[E-UTF8]"]),
        malformed(
            "V11",
            T1::new().set_strs(&key("tokens"), &no_bytes).set_i32s(&key("token_type"), &normal),
            vocab,
        ),
        malformed("V12 sign", with_token(3, b"<0x-1>"), vocab),
        malformed("V12 digits", with_token(3, b"<0xZZ>"), vocab),
        malformed("V13", with_token(261, &vec![b'x'; 16 << 20]), &["error[E-STRLEN]"]),
        malformed("V15", charsmap(&[1, 2, 3]), vocab),
        malformed("V15 offset past the end", charsmap(&[4, 0, 0, 0, 0, 0, 4, 0, 0]), vocab),
        Row {
            id: "V16",
            model: T1::bpe().set_str(&key("pre"), "\x1b[2Jmine"),
            args: &[],
            status: 69,
            says: &["error[E-PRE]", "mine"],
        },
    ]
}

/// A unigram vocabulary with a map of characters.
fn charsmap(bytes: &[u8]) -> T1 {
    let model = T1::new().set_str("tokenizer.ggml.model", "t5");
    model.set_u8s("tokenizer.ggml.precompiled_charsmap", bytes)
}

fn merges() -> Vec<Row> {
    let merge = &["error[E-MERGE]"];
    let bpe = |merges: &[&str]| T1::bpe().set_strs("tokenizer.ggml.merges", merges);
    let many = vec!["a b"; 10_000_000];
    vec![
        malformed("V14 no space", bpe(&["ab"]), merge),
        malformed("V14 unknown part", bpe(&["a q7"]), merge),
        malformed("V14 empty part", bpe(&["a "]), merge),
        malformed("V14 many", bpe(&many), merge),
        malformed("V14 missing", T1::bpe().remove("tokenizer.ggml.merges"), &["error[E-KEY]"]),
    ]
}

fn names() -> Vec<Row> {
    let arch = |name: &str| T1::new().set_str("general.architecture", name);
    let unknown = |id, model| Row { id, model, args: &[], status: 69, says: &["error[E-ARCH]"] };
    vec![
        unknown("K13 empty", arch("")),
        unknown("K13 long", arch(&"a".repeat(1 << 20))),
        unknown("K13 escape", arch("\x1b[2J\n")),
        Row {
            id: "model",
            model: T1::new().set_str("tokenizer.ggml.model", "t6"),
            args: &[],
            status: 69,
            says: &["error[E-TOKENIZER]", "t6"],
        },
        Row {
            id: "sampling",
            model: T1::new().set_f32("general.sampling.top_p", f32::NAN),
            args: &[],
            status: 65,
            says: &["error[E-SAMPLING]", "general.sampling.top_p"],
        },
    ]
}

/// A usage error that names the flag.
fn usage(id: &'static str, args: &'static [&'static str]) -> Row {
    Row { id, model: T1::new(), args, status: 2, says: &["error[E-"] }
}

fn arguments() -> Vec<Row> {
    vec![
        usage("C01 nan", &["--temp", "nan"]),
        usage("C01 inf", &["--temp", "inf"]),
        usage("C01 -1", &["--temp", "-1"]),
        usage("C02", &["--top-p", "nan"]),
        usage("C03", &["--top-k", "-2147483648"]),
        usage("C04", &["--typical", "nan"]),
        usage("C05", &["--min-p", "2"]),
        usage("C06 0", &["--repeat-penalty", "0"]),
        usage("C06 nan", &["--repeat-penalty", "nan"]),
        usage("C07", &["-b", "0"]),
        usage("C08", &["-c", "-5"]),
        usage("C09", &["-n", "-3"]),
        usage("C10 large", &["--logit-bias", "99999999+1"]),
        usage("C10 -1", &["--logit-bias", "-1+1"]),
        usage("C10 nan", &["--logit-bias", "1+nan"]),
        usage("threads 0", &["-t", "0"]),
        usage("threads 2^40", &["-t", "1099511627776"]),
        usage("seed", &["--seed", "4294967296"]),
        usage("dynatemp", &["--dynatemp-range", "nan"]),
        usage("penalty", &["--presence-penalty", "inf"]),
        usage("last-n", &["--repeat-last-n", "-1"]),
        usage("isa", &["--isa", "sse9"]),
        usage("ids", &["--ids", "99999"]),
        usage("no ids", &["--ids", ""]),
        usage("numerics", &["--numerics", "slow"]),
        usage("logits", &["--logits", "3"]),
        Row {
            id: "prompt longer than the context",
            model: T1::new(),
            args: &["-c", "4", "--ids", "5,5,5,5,5,5"],
            status: 2,
            says: &["error[E-CONTEXT]", "6 tokens", "context 4"],
        },
    ]
}

/// Runs the binary with a limit on what it may allocate.
fn limited(args: &[&str]) -> Outcome {
    limited_with_input(args, b"")
}

fn limited_with_input(args: &[&str], input: &[u8]) -> Outcome {
    if cfg!(unix) {
        let script = format!("ulimit -d {} && exec \"$0\" \"$@\"", MAX_MIB * 1024);
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_lockstep")]).args(args);
        finish(&mut command, input)
    } else {
        finish(lockstep().args(args), input)
    }
}

/// What is wrong with the outcome, if anything.
fn problem(row: &Row, outcome: &Outcome) -> Option<String> {
    let stderr = &outcome.stderr;
    let errors = stderr.lines().filter(|line| line.starts_with("error[")).count();
    let wrong = if outcome.status != Some(row.status) {
        format!("status {:?}, not {}", outcome.status, row.status)
    } else if let Some(part) = row.says.iter().find(|part| !stderr.contains(**part)) {
        format!("does not say {part:?}")
    } else if errors != usize::from(row.status != 0) {
        format!("{errors} errors")
    } else if stderr.contains('\x1b') {
        "an escape character reached the terminal".to_owned()
    } else if row.status != 0 && stderr.len() > 4096 {
        format!("{} bytes of error", stderr.len())
    } else if outcome.elapsed > MAX_TIME {
        format!("took {:?}", outcome.elapsed)
    } else {
        return None;
    };
    let shown: String = stderr.chars().take(500).collect();
    Some(format!("{}: {wrong}: {}", row.id, shown.escape_debug()))
}

fn check(rows: Vec<Row>) {
    let problems: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let model = TempFile::new("model.gguf", &row.model.build());
            let mut args = vec!["run", "-m", model.str(), "-n", "2"];
            let has_temp = row.args.contains(&"--temp");
            args.extend(["--temp", "0"].iter().filter(|_| !has_temp));
            args.extend(row.args);
            args.extend(["aa"].iter().filter(|_| !row.args.contains(&"--ids")));
            problem(row, &limited(&args))
        })
        .collect();
    assert!(
        problems.is_empty(),
        "{} of {} rows:\n{}",
        problems.len(),
        rows.len(),
        problems.join("\n")
    );
}

#[test]
fn the_model_itself_runs() {
    check(vec![runs("T1", T1::new(), &["decode"]), runs("T1 BPE", T1::bpe(), &["decode"])]);
}

#[test]
fn hyper_parameters_out_of_range() {
    check(hyper_parameters());
}

#[test]
fn tensors_that_do_not_fit() {
    check(tensors());
}

#[test]
fn vocabularies_that_contradict_themselves() {
    check(vocabulary());
    check(merges());
}

#[test]
fn names_from_elsewhere() {
    check(names());
}

#[test]
fn arguments_without_a_meaning() {
    check(arguments());
}

/// V17, the whole way: how long tokenizing may take is `tokenizer/tests/linear.rs`.
#[test]
fn prompts_of_a_mebibyte() {
    let model = TempFile::new("model.gguf", &T1::bpe().build());
    let says = &["error[E-CONTEXT]", "tokens, the context 64"];
    let row = Row { id: "V17", model: T1::bpe(), args: &[], status: 2, says };
    for piece in ["a", " ", "\u{301}", "\n"] {
        let text = piece.repeat((1 << 20) / piece.len());
        let outcome = limited_with_input(&["run", "-m", model.str()], text.as_bytes());
        assert_eq!(problem(&row, &outcome), None, "{piece:?}");
    }
}

#[test]
fn paths_that_are_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id, status, says| Row { id, model: T1::new(), args: &[], status, says };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty"), b"").unwrap();
    std::fs::write(path("lfs"), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        .unwrap();
    let whole = T1::new().build();
    std::fs::write(path("short"), &whole[..whole.len() - 1]).unwrap();
    let mut cases = vec![
        (row("folder", 66, &["a directory"]), path("")),
        (row("nothing", 66, &["error[E-NOFILE]"]), path("x.gguf")),
        (row("empty", 65, &["error[E-TRUNC]"]), path("empty")),
        (row("lfs", 65, &["error[E-MAGIC]", "git lfs pull"]), path("lfs")),
        (row("short", 65, &["error[E-TRUNC]"]), path("short")),
    ];
    if cfg!(unix) {
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        cases.push((row("pipe", 66, &["a pipe"]), path("pipe")));
        cases.push((row("device", 66, &["a device"]), "/dev/zero".to_owned()));
        // Not the same as not being there: a permission that is missing is told the same way.
        let through = row("through a file", 66, &["error[E-OPEN]", "ot a directory"]);
        cases.push((through, path("short/x.gguf")));
    }
    for command in ["run", "inspect", "tokenize", "quantize"] {
        for (row, path) in &cases {
            let args: &[&str] = match command {
                "run" => &["run", "aa", "-m", path],
                "quantize" => &["quantize", path, "/nowhere/x.gguf", "F16"],
                _ => &[command, path],
            };
            assert_eq!(problem(row, &limited(args)), None, "{command}");
        }
    }
}

#[test]
fn more_memory_than_there_is() {
    // M13: the training context is what memory holds.
    let long = t1("context_length", u32::MAX);
    let model = TempFile::new("model.gguf", &long.build());
    let outcome = common::run(&["run", "aa", "-n", "2", "--temp", "0", "-m", model.str()]);
    assert_eq!(problem(&runs("M13", long, &["decode"]), &outcome), None);

    // M36: 46 TB of cache.
    let path = common::smollm2();
    let says = &["error[E-MEMORY]", "needs", "free", "try a context of"];
    let row = Row { id: "M36", model: T1::new(), args: &[], status: 71, says };
    let outcome = common::run(&["run", "aa", "-c", "2000000000", "-m", common::arg(&path)]);
    assert_eq!(problem(&row, &outcome), None);

    // M35: a matrix of 4 TiB in a sparse file.
    let n: usize = 1 << 20;
    let mut tokens = T1::tokens();
    tokens.extend((tokens.len()..n).map(|i| format!("t{i}").into_bytes()));
    let types = [&[2, 3, 3][..], &[6; 256], &[1].repeat(n - 259)].concat();
    let mut huge = t1("embedding_length", 1 << 20)
        .set_u32("llama.rope.dimension_count", 1 << 18)
        .set_strs("tokenizer.ggml.tokens", &tokens)
        .set_f32s("tokenizer.ggml.scores", &vec![0.0; n])
        .set_i32s("tokenizer.ggml.token_type", &types)
        .reshape_tensor("token_embd.weight", &[n as u64; 2]);
    for name in
        ["output.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"]
    {
        huge = huge.remove_tensor(name);
    }
    let (header, size) = huge.header();
    let model = TempFile::new("model.gguf", &header);
    std::fs::File::options().append(true).open(&model.path).unwrap().set_len(size).unwrap();
    let says = &["error[E-MEMORY]", "needs", "free"];
    let row = Row { id: "M35", model: huge, args: &[], status: 71, says };
    assert_eq!(problem(&row, &limited(&["run", "aa", "-m", model.str()])), None);
}
