//! `lockstep verify`: files that hold, files that do not, and where the ladder says so.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, TempFile, arg, finish, lockstep, run};
use compare::{TraceFile, TraceInfo, Values, Writer};
use gguf_parse::Gguf;
use golden::hostile::T1;
use llama_model::synth::{Shape, SynthModel, SynthOptions, tiny_models};
use serde_json::{Value, json};
use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Stdio,
};

/// The rungs of every certificate; behind a trace there are two more.
const RUNGS: [&str; 19] = [
    "file",
    "header",
    "tokens",
    "template",
    "weights",
    "model",
    "fast",
    "reference",
    "oracle",
    "fast/reference",
    "fast/oracle",
    "reference/oracle",
    "logits",
    "cache",
    "batches",
    "threads",
    "isa",
    "packing",
    "trace",
];

fn write_model(folder: &Path, name: &str, options: SynthOptions) -> PathBuf {
    let path = folder.join(format!("{name}.gguf"));
    SynthModel::new(options).unwrap().write(&path, |_| ControlFlow::Continue(())).unwrap();
    path
}

/// A model of four layers in Q4_K.
fn q4_k(folder: &Path) -> PathBuf {
    let shape = Shape { n_layer: 4, ..Shape::TINY };
    write_model(folder, "q4_k", SynthOptions::new(shape, gguf_parse::GgmlType::Q4_K))
}

fn certificate(outcome: &Outcome, status: i32) -> Value {
    assert_eq!(outcome.status, Some(status), "{outcome:?}");
    let certificate = outcome.json();
    assert_eq!(
        (&certificate["exit"], &certificate["passed"]),
        (&json!(status), &json!(status == 0)),
        "it says how it ended"
    );
    certificate
}

fn rung<'a>(certificate: &'a Value, name: &str) -> &'a Value {
    let rungs = certificate["rungs"].as_array().unwrap();
    rungs.iter().find(|rung| rung["name"] == name).unwrap_or_else(|| panic!("{name}: {rungs:?}"))
}

/// The names of the rungs with this status.
fn with_status<'a>(certificate: &'a Value, status: &str) -> Vec<&'a str> {
    let rungs = certificate["rungs"].as_array().unwrap().iter();
    rungs
        .filter(|rung| rung["status"] == status)
        .map(|rung| rung["name"].as_str().unwrap())
        .collect()
}

/// Every architecture and every tensor type: no false alarm.
#[test]
fn every_tiny_model_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let models = tiny_models();
    assert!(models.len() > 60, "{} models", models.len());
    for (name, options) in models {
        let path = write_model(folder.path(), &name, options);
        let outcome = run(&["verify", arg(&path), "--quick", "-n", "12", "-t", "1"]);
        if outcome.status != Some(0) {
            wrong.push(format!("{name}: {}{}", outcome.stdout, outcome.stderr));
        }
        fs::remove_file(path).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_certificate_says_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = q4_k(folder.path());
    let args = ["verify", arg(&path), "--json", "-t", "2"];
    let first = run(&args).expect_success();
    let certificate = certificate(&first, 0);
    let names: Vec<_> = certificate["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, RUNGS);
    let skipped = with_status(&certificate, "skipped");
    assert!(skipped.iter().all(|name| ["template", "trace", "isa"].contains(name)), "{skipped:?}");

    let bytes = fs::read(&path).unwrap();
    assert_eq!(certificate["file"]["sha256"], model_store::sha256_of(&bytes[..]).unwrap());
    let n_tensors = Gguf::open(&path).unwrap().tensors().len();
    let weights = &certificate["weights"];
    assert_eq!(weights["tensors"].as_array().unwrap().len(), n_tensors);
    assert_eq!(weights["sha256"].as_str().unwrap().len(), 64);
    let up = weights["tensors"].as_array().unwrap();
    let up = up.iter().find(|t| t["name"] == "blk.2.ffn_up.weight").unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let view = gguf.tensor("blk.2.ffn_up.weight").unwrap();
    let mut floats = vec![0.0; view.dims.n_elems()];
    dequant::dequantize(view.ty, view.data, &mut floats).unwrap();
    let floats: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(up["sha256"], model_store::sha256_of(&floats[..]).unwrap());
    assert_eq!((&up["type"], &up["n_not_finite"]), (&json!("q4_K"), &json!(0)));
    assert!(up["scales"]["n_blocks"].as_u64().unwrap() > 0, "{up}");

    let pairs: Vec<_> = certificate["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            assert_eq!((&c["in_lockstep"], &c["floor"]), (&json!(true), &json!("measured")), "{c}");
            let stages = c["stages"].as_array().unwrap();
            assert!(stages.len() > 8, "{c}");
            assert!(stages.iter().all(|s| s["nmse"].as_f64() <= s["floor"].as_f64()), "{c}");
            (c["a"].as_str().unwrap(), c["b"].as_str().unwrap())
        })
        .collect();
    assert_eq!(pairs, [("fast", "reference"), ("fast", "oracle"), ("reference", "oracle")]);
    for evaluated in certificate["arithmetics"].as_array().unwrap() {
        assert_eq!(evaluated["rms_by_layer"].as_array().unwrap().len(), 4);
    }
    let logits = &certificate["logits"];
    assert_eq!(logits["n_positions"], 32 + 4);
    assert!(logits["kl_fast_from_oracle"]["mean"].as_f64() <= logits["kl_allowed"].as_f64());
    let invariance = certificate["invariance"].as_array().unwrap();
    assert!(invariance.len() > 8 && invariance.iter().all(|i| i["same_bits"] == true));

    // The same at every run, on paper too.
    let output = folder.path().join("certificate.json");
    let again = run(&[&args[..], &["-o", arg(&output)]].concat()).expect_success();
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(fs::read_to_string(output).unwrap(), first.stdout);
}

#[test]
fn people_get_a_line_for_each_rung() {
    let folder = tempfile::tempdir().unwrap();
    let path = q4_k(folder.path());
    let outcome = run(&["verify", arg(&path), "--full", "--quick"]).expect_success();
    let mut lines = outcome.stdout.lines();
    for name in RUNGS {
        let line = lines.next().unwrap();
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert!(words[0] == name && ["ok", "skipped"].contains(&words[1]), "{line}");
    }
    assert!(outcome.stdout.contains("fast beside reference; noise: ten times"), "{outcome:?}");
    assert!(outcome.stdout.contains("\nl_out-3 "), "{outcome:?}");
    assert!(lines.next_back().unwrap().starts_with("passed: "), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
}

/// One scale of one block is NaN, in a tensor in the middle.
#[test]
fn a_damaged_tensor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = q4_k(folder.path());
    let gguf = Gguf::open(&path).unwrap();
    let data = gguf.tensor("blk.2.ffn_down.weight").unwrap().data;
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(data.len()).position(|window| window == data).unwrap();
    // Block 5 begins with its scale; 0x7e00 is NaN.
    bytes[at + 5 * 144..][..2].copy_from_slice(&0x7e00_u16.to_le_bytes());
    let damaged = TempFile::new("damaged.gguf", &bytes);
    let outcome = run(&["verify", damaged.str(), "--json"]);
    let certificate = certificate(&outcome, 65);
    assert_eq!(with_status(&certificate, "fail"), ["weights"]);
    let rung = rung(&certificate, "weights");
    let text = "tensor blk.2.ffn_down.weight: q4_K block 5 holds a number that is infinite or NaN";
    assert_eq!((&rung["error"]["code"], &rung["detail"]), (&json!("E-NAN"), &json!(text)));
    let bad: Vec<_> = certificate["weights"]["tensors"].as_array().unwrap().iter().collect();
    let bad: Vec<_> = bad.iter().filter(|t| t["n_not_finite"] != 0).map(|t| &t["name"]).collect();
    assert_eq!(bad, ["blk.2.ffn_down.weight"]);
    assert_eq!(outcome.stderr, format!("error[E-NAN]: {}: {text}\n", damaged.str()));
    assert!(
        certificate["verdict"].as_str().unwrap().starts_with("FAILED at weights: tensor blk.2")
    );
}

/// Weights that are finite each, and too large together.
#[test]
fn activations_that_overflow_are_placed() {
    let model = T1::new()
        .fill_tensor("blk.0.ffn_up.weight", 3e38)
        .fill_tensor("blk.0.ffn_gate.weight", 3e38);
    let model = TempFile::new("t1.gguf", &model.build());
    let outcome = run(&["verify", model.str(), "--json"]);
    let certificate = certificate(&outcome, 65);
    assert_eq!(with_status(&certificate, "fail"), ["fast"]);
    let detail = rung(&certificate, "fast")["detail"].as_str().unwrap();
    assert!(detail.contains("the first value that is none is in ffn_"), "{detail}");
}

fn trace(folder: &Path, model: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let args = ["--ids", "5,17,300,42,9,111", "--steps", "2", "--all", "--numerics", "reference"];
    run(&[&["trace", arg(model), "-o", arg(&path)], &args[..]].concat()).expect_success();
    path
}

/// The same trace, told to be of the file with this hash and in this arithmetic.
fn retold(from: &Path, to: &Path, change: impl FnOnce(TraceInfo) -> TraceInfo) {
    let trace = TraceFile::open(from).unwrap();
    let mut writer = Writer::create(to, trace.nodes().len()).unwrap();
    for (eval, info) in trace.info().evals.iter().enumerate() {
        writer.begin_eval(info.n_past, &info.tokens);
        for node in trace.nodes().iter().filter(|node| node.eval == eval) {
            let values = Values::F64(&trace.values(node).unwrap()[..]);
            writer.node(&node.name, node.op.as_deref().unwrap_or(""), &node.shape, values).unwrap();
        }
    }
    writer.finish(change(trace.info().clone())).unwrap();
}

#[test]
fn a_trace_of_an_engine_that_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = q4_k(folder);
    let scalar = trace(folder, &model, "scalar");
    let verify =
        |trace: &Path| run(&["verify", arg(&model), "--quick", "--json", "--trace", arg(trace)]);
    let exact = certificate(&verify(&scalar), 0);
    let found = rung(&exact, "trace/reference")["detail"].as_str().unwrap();
    assert!(found.ends_with("every bit is the same"), "{found}");
    assert_eq!(rung(&exact, "trace/fast")["status"], "ok");
    let floors: Vec<_> =
        exact["comparisons"].as_array().unwrap()[3..].iter().map(|c| &c["floor"]).collect();
    assert_eq!(floors, ["exact", "measured"]);

    // Of an engine that promises no bits, and says less.
    let native = folder.join("native.safetensors");
    retold(&scalar, &native, |info| TraceInfo {
        arithmetic: "x86".to_owned(),
        model_sha256: String::new(),
        ..info
    });
    let near = certificate(&verify(&native), 0);
    assert_eq!(rung(&near, "trace")["notes"], json!(["it does not say which file it is of"]));
    let floors: Vec<_> =
        near["comparisons"].as_array().unwrap()[3..].iter().map(|c| &c["floor"]).collect();
    assert_eq!(floors, ["measured", "measured"]);
}

/// A model file with one f32 of its metadata changed.
fn changed(model: &Path, key: &str, to: f32) -> TempFile {
    let mut bytes = fs::read(model).unwrap();
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
    // Behind the key stand the type of the value, and the value.
    bytes[at + key.len() + 4..][..4].copy_from_slice(&to.to_le_bytes());
    TempFile::new("changed.gguf", &bytes)
}

#[test]
fn a_trace_of_an_engine_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = q4_k(folder);
    let hash = model_store::sha256_of(fs::File::open(&model).unwrap()).unwrap();
    let wrong = [
        ("llama.rope.freq_base", 500_000.0, "rope"),
        ("llama.attention.layer_norm_rms_epsilon", 0.1, "rms_norm"),
    ];
    for (key, to, stage) in wrong {
        let other = changed(&model, key, to);
        let honest = trace(folder, &other.path, "honest");
        let verify = |trace: &Path| {
            run(&["verify", arg(&model), "--quick", "--json", "--trace", arg(trace)])
        };
        let of_another = certificate(&verify(&honest), 1);
        assert_eq!(with_status(&of_another, "fail"), ["trace", "trace/reference", "trace/fast"]);

        let lying = folder.join("lying.safetensors");
        retold(&honest, &lying, |info| TraceInfo { model_sha256: hash.clone(), ..info });
        let outcome = verify(&lying);
        let diverged = certificate(&outcome, 1);
        assert_eq!(with_status(&diverged, "fail"), ["trace/reference", "trace/fast"], "{key}");
        for compared in &diverged["comparisons"].as_array().unwrap()[3..] {
            let first = &compared["divergence"];
            assert_eq!(
                (&first["stage"], &first["layer"]),
                (&json!(stage), &json!(0)),
                "{key}: {first}"
            );
        }
        assert_eq!(outcome.stderr, "", "a difference is an answer, not an error");
        let text = run(&["verify", arg(&model), "--quick", "--trace", arg(&lying)]).stdout;
        assert!(
            text.contains("trace/reference   FAIL     diverged in evaluation 0, layer 0"),
            "{text}"
        );
        assert!(text.contains("\nFAILED at trace/reference: diverged in evaluation 0"), "{text}");
    }
}

/// What is not right with a file, and the rung and status that it must get.
#[test]
fn broken_files_fail_at_their_rung() {
    let arch = |name: &str| T1::new().set_str("general.architecture", name);
    let merges: &[&str] = &["no merge"];
    let rows = [
        (b"GGUF".to_vec(), 65, "header", "E-"),
        (b"no model".to_vec(), 65, "header", "E-MAGIC"),
        (Vec::new(), 65, "header", "E-"),
        (golden::hostile::t0(), 65, "model", "E-"),
        (arch("clip").build(), 69, "model", "E-ARCH"),
        (T1::bpe().set_strs("tokenizer.ggml.merges", merges).build(), 65, "tokens", "E-"),
        (T1::new().set_u32("llama.attention.head_count", 3).build(), 65, "model", "E-HPARAM"),
        (T1::new().remove_tensor("blk.0.ffn_up.weight").build(), 65, "model", "E-TENSOR"),
        (
            T1::new().set_str("tokenizer.chat_template", "{% if %}").build(),
            65,
            "template",
            "E-TEMPLATE",
        ),
        (T1::new().fill_tensor("output.weight", f32::INFINITY).build(), 65, "weights", "E-NAN"),
    ];
    for (bytes, status, name, code) in rows {
        let file = TempFile::new("broken.gguf", &bytes);
        let outcome = run(&["verify", file.str(), "--quick", "--json"]);
        let certificate = certificate(&outcome, status);
        let failed = with_status(&certificate, "fail");
        assert_eq!(failed[0], name, "{certificate}");
        let error = &rung(&certificate, name)["error"];
        assert!(error["code"].as_str().unwrap().starts_with(code), "{error}");
        assert_eq!(certificate["rungs"].as_array().unwrap().len(), RUNGS.len(), "all are told");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        let text = run(&["verify", file.str(), "--quick"]);
        assert_eq!((text.status, text.stderr), (Some(status), outcome.stderr));
    }
}

#[test]
fn odd_files_that_hold() {
    let no_tokenizer = T1::new().remove("tokenizer.ggml.model").remove("tokenizer.ggml.tokens");
    let templated = T1::new().set_str("tokenizer.chat_template", "{{ messages[0].content }}");
    let refusing = T1::new().set_str("tokenizer.chat_template", "{{ raise_exception('no') }}");
    let zero = T1::new().fill_tensor("blk.0.attn_q.weight", 0.0);
    for (name, model, prompt, note) in [
        ("context of 1", T1::new().set_u32("llama.context_length", 1), "built in", ""),
        ("context of 3", T1::new().set_u32("llama.context_length", 3), "built in", ""),
        ("no tokenizer", no_tokenizer, "made up", ""),
        ("bpe", T1::bpe(), "built in", ""),
        ("template", templated, "built in", ""),
        ("refusing template", refusing, "built in", "refuses this conversation: no"),
        ("zero", zero, "built in", "all of blk.0.attn_q.weight is zero"),
    ] {
        let file = TempFile::new("odd.gguf", &model.build());
        let outcome = run(&["verify", file.str(), "--json"]);
        assert_eq!(outcome.status, Some(0), "{name}: {outcome:?}");
        let certificate = outcome.json();
        assert_eq!(certificate["prompt"]["source"], prompt, "{name}");
        assert!(outcome.stdout.contains(note), "{name}: {outcome:?}");
        assert_eq!(outcome.stderr, "", "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_command_line() {
    let model = TempFile::new("t1.gguf", &T1::new().build());
    let empty = TempFile::new("empty", b"");
    let bad = TempFile::new("bad.safetensors", b"no trace");
    let folder = model.path.parent().unwrap();
    let nowhere = folder.join("no/x");
    let on = |more: &[&str]| run(&[&["verify", model.str(), "--quick"], more].concat());
    for (outcome, status, says) in [
        (run(&["verify", "no-such.gguf"]), 66, "no-such.gguf"),
        (run(&["verify", arg(folder)]), 66, "is a directory"),
        (run(&["verify"]), 2, "<MODEL>"),
        (on(&["-n", "0"]), 2, "--n-tokens"),
        (on(&["--ids", "262"]), 2, "must be below 262"),
        (on(&["-p", "a", "--ids", "1"]), 2, "cannot be used with"),
        (on(&["-f", "no-such-file"]), 66, "no-such-file"),
        (on(&["--full", "--json"]), 2, "cannot be used with"),
        (on(&["--noise", bad.str()]), 2, "--trace"),
        (on(&["--trace", bad.str()]), 65, "safetensors"),
        (on(&["--trace", "no-such-trace"]), 66, "no-such-trace"),
        (on(&["--isa", "mmx"]), 2, "mmx"),
        (on(&["-o", model.str()]), 2, "is a file that is to be read"),
        (on(&["-o", arg(folder)]), 74, "no regular file"),
        (on(&["-o", arg(&nowhere)]), 74, "cannot be written"),
    ] {
        assert_eq!(outcome.status, Some(status), "{says}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    // An empty text is BOS alone.
    on(&["-f", empty.str()]).expect_success();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing is left");
}

/// Whoever stops reading still gets the status of the whole ladder.
#[test]
fn a_closed_pipe_does_not_pass_a_broken_file() {
    for (model, status) in [(T1::new(), 0), (T1::new().fill_tensor("output.weight", f32::NAN), 65)]
    {
        let model = TempFile::new("t1.gguf", &model.build());
        let mut command = lockstep();
        command
            .args(["verify", model.str(), "--quick"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
}

/// What was found before Ctrl-C is told.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_ladder() {
    let model =
        TempFile::new("t1.gguf", &T1::new().set_u32("llama.context_length", 1 << 20).build());
    for tenths in [5, 20, 60, 200] {
        let mut command = lockstep();
        command.args(["verify", model.str(), "--json", "-n", "1024", "--steps", "1024", "-t", "1"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(tenths * 100));
        let id = child.id().to_string();
        let killed = std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(killed.success() && output.status.code() == Some(130), "{output:?}");
        let certificate: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&certificate["passed"], &certificate["exit"]), (&json!(false), &json!(130)));
        assert!(certificate["verdict"].as_str().unwrap().starts_with("interrupted: "));
        if with_status(&certificate, "ok").contains(&"header") {
            return;
        }
    }
    panic!("it was never far enough");
}

#[test]
fn a_temporary_folder_that_is_not_there_is_told() {
    let model = TempFile::new("t1.gguf", &T1::new().build());
    let mut command = lockstep();
    command.args(["verify", model.str(), "--quick"]).env("TMPDIR", "/no/such/folder");
    let outcome = finish(&mut command, b"");
    if cfg!(unix) {
        assert_eq!(outcome.status, Some(74), "{outcome:?}");
        assert!(outcome.stderr.starts_with("error[E-IO]: /no/such/folder: "), "{outcome:?}");
    }
}
