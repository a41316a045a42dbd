//! `lockstep chat` with standard input for a user.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{Outcome, TempFile, arg, lockstep, run, run_with_input, smollm2};
use golden::hostile::T1;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A chat, greedy unless the flags say otherwise.
fn chat(flags: &[&str], lines: &str) -> Outcome {
    let model = smollm2();
    run_with_input(&[&["chat", arg(&model), "--temp", "0"], flags].concat(), lines.as_bytes())
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn turns_remember_and_cost_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.json");
    let lines = format!(
        "My name is Bob and I am 30 years old.\nHow old\\\nam I?\n/stats\n/save {}\n/exit\nnot read\n",
        file.display()
    );
    let system = "You are a helpful assistant.";
    let found = chat(&["-n", "24", "--system", system], &lines).expect_success();
    let saved = read(&file);
    let messages = saved["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5, "{saved}");
    assert_eq!(messages[3]["content"], "How old\nam I?");
    let answers: Vec<&str> =
        [2, 4].iter().map(|i: &usize| messages[*i]["content"].as_str().unwrap()).collect();
    assert_eq!(found.stdout, format!("{}\n{}\n", answers[0], answers[1]));
    assert!(answers[1].contains("30"), "{answers:?}");

    // The second turn read its own message and the marks around it, nothing else.
    let stats = found.stderr.lines().find(|line| line.starts_with("last answer")).unwrap();
    let n_new: usize = stats.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((5..20).contains(&n_new), "{stats}");

    // The whole conversation in one go gives the same bits: the same answer.
    let mut asked = saved.clone();
    asked["messages"].as_array_mut().unwrap().pop();
    let conversation = TempFile::new("asked.json", asked.to_string().as_bytes());
    let model = smollm2();
    let prompt = run(&["template", arg(&model), "--messages", conversation.str(), "--json"])
        .expect_success()
        .json();
    let ids: Vec<String> = prompt["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    let args = ["run", "-m", arg(&model), "--temp", "0", "-n", "24", "--json", "--ids"];
    let anew = run(&[&args[..], &[&ids.join(",")]].concat()).expect_success().json();
    assert_eq!(anew["text"], answers[1]);

    // And a chat that is loaded goes on from there.
    let loaded =
        chat(&["--load", arg(&file), "-n", "4"], "/retry\n/undo\n/undo\n").expect_success();
    assert!(answers[1].starts_with(loaded.stdout.trim_end()), "{loaded:?}");
}

#[test]
fn settings_change_and_are_checked() {
    let found = chat(&["-n", "3", "--seed", "5"], "/set temp 1.5\n/set n_predict 2\n/set\n");
    let found = found.expect_success();
    assert!(found.stderr.contains("temperature 1.5") && found.stderr.contains("n-predict 2"));
    for (line, says) in [
        ("/set temp warm", "invalid value"),
        ("/set ctx-size 5", "no setting"),
        ("/nonsense", "/help"),
        ("/undo", "nothing to take back"),
        ("/retry", "no message"),
        ("/load /nowhere.json", "/nowhere.json"),
    ] {
        let found = chat(&[], line);
        assert_eq!(found.stderr.lines().count(), 1, "{found:?}");
        assert!(found.stderr.contains(says) && found.status != Some(0), "{line}: {found:?}");
    }
    let there = TempFile::new("precious.txt", b"precious");
    let found = chat(&["-n", "1"], &format!("Hi\n/save {}\n", there.str()));
    assert_eq!(found.status, Some(2), "{found:?}");
    assert_eq!(std::fs::read(&there.path).unwrap(), b"precious");
}

#[test]
fn answers_to_one_message_differ_and_can_be_had_again() {
    let lines = "Tell me something.\n/retry\n";
    let flags = ["--temp", "1.5", "--seed", "3", "-n", "12"];
    let found = chat(&flags, lines).expect_success().stdout;
    assert_eq!(found, chat(&flags, lines).expect_success().stdout, "the same seed");
    let model = smollm2();
    let once = ["run", "-m", arg(&model), "Tell me something."];
    let first = run(&[&once[..], &flags].concat()).expect_success().stdout;
    assert!(found.starts_with(first.trim_end()), "the first as `run` gives it");
    let second = found[first.trim_end().len()..].trim();
    assert!(!second.is_empty() && second != first.trim(), "{found:?}");
}

#[test]
fn a_full_context_is_refused_or_shifted() {
    let lines =
        "Count from one to ten, please.\nAnd from ten to one.\nAnd again, from one to twenty.\n";
    let refused = chat(&["-c", "96", "-n", "30"], lines);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--context-shift"), "{refused:?}");
    let shifted = chat(&["-c", "96", "-n", "30", "--context-shift"], lines).expect_success();
    assert!(shifted.stderr.contains("oldest messages are left out"), "{shifted:?}");
    let too_long = "word ".repeat(200);
    let found = chat(&["-c", "96", "--context-shift"], &too_long);
    assert_eq!(found.status, Some(2), "{found:?}");
    assert!(found.stderr.contains("E-CONTEXT"), "{found:?}");
    // An answer that outgrows the context goes on with less of the past.
    let lines =
        "Hello there, how are you?\n/set ignore-eos on\n/set n-predict 90\nTell me a story.\n";
    let grown = chat(&["-c", "96", "-n", "8", "--context-shift"], lines).expect_success();
    assert!(grown.stderr.contains("left out"), "{grown:?}");
    assert_eq!(json!(grown.stdout.contains('\u{fffd}')), json!(false), "{grown:?}");
}

#[test]
fn a_model_without_a_template_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.gguf");
    run(&["synth", "--shape", "tiny", "--type", "F16", "-o", arg(&path)]).expect_success();
    let found = run_with_input(&["chat", arg(&path)], b"Hi\n");
    assert_eq!(found.status, Some(69), "{found:?}");
    assert!(found.stderr.contains("--chat-template-file"), "{found:?}");
}

/// T1 with a template that wants users and assistants to alternate, and a context that takes a while to fill.
fn tiny() -> TempFile {
    let template = "{% for m in messages %}\
        {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}\
        <|start|>{{ m.role }}\n{{ m.content }}<|endoftext|>{% endfor %}<|start|>assistant\n";
    let model = T1::bpe()
        .set_u32("llama.context_length", 1 << 20)
        .set_str("tokenizer.chat_template", template);
    TempFile::new("t1.gguf", &model.build())
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_keeps_the_chat() {
    let (model, folder) = (tiny(), tempfile::tempdir().unwrap());
    let file = folder.path().join("chat.json");
    let args = ["chat", model.str(), "--ignore-eos", "-c", "200000", "--seed", "1"];
    let mut command = lockstep();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    // What is said is read all the time, so that the chat never waits for its reader.
    let n_read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_read);
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut bytes) {
            counter.fetch_add(n, Ordering::SeqCst);
        }
    });
    for message in ["a", "ab"] {
        let before = n_read.load(Ordering::SeqCst);
        writeln!(stdin, "{message}").unwrap();
        // The answer has begun, and would go on for long.
        while n_read.load(Ordering::SeqCst) < before + 64 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let id = child.id().to_string();
        // Twice: people are impatient.
        for _ in 0..2 {
            assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        }
        let stopped = told.by_ref().any(|line| line.unwrap().contains("stopped; /retry"));
        assert!(stopped, "the answer to {message} was not stopped");
        // The next press is no part of this one, and all that was said has been read.
        std::thread::sleep(Duration::from_millis(1200));
    }
    writeln!(stdin, "/set n-predict 3\nabc\n/save {}", file.display()).unwrap();
    drop(stdin);
    let stderr: Vec<String> = told.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr:?}");
    reader.join().unwrap();
    let stderr = stderr.join("\n");
    assert_eq!(read(&file)["messages"].as_array().unwrap().len(), 6, "{stderr}");
}

#[test]
fn a_question_without_an_answer_gives_way_to_the_next() {
    let model = tiny();
    let asked = json!({"messages": [{"role": "user", "content": "\u{1b}[2Ja"}]});
    let file = TempFile::new("asked.json", asked.to_string().as_bytes());
    let args = ["chat", model.str(), "-n", "2", "--load", file.str()];
    let lines = format!("ab\n/save {}\n", file.str());
    run_with_input(&args, lines.as_bytes()).expect_success();
    let messages = read(&file.path)["messages"].clone();
    assert_eq!(messages.as_array().unwrap().len(), 2, "{messages}");
    assert_eq!(messages[0]["content"], "ab");
}

#[test]
fn what_is_told_cannot_drive_a_terminal() {
    let model = tiny();
    let lines = "/system \u{1b}[2Jx\n/system\n";
    let found = run_with_input(&["chat", model.str()], lines.as_bytes()).expect_success();
    assert_eq!(found.stderr, "\\u{1b}[2Jx\n");
}

/// A seed that was drawn is kept, until another one is asked for.
#[test]
fn settings_keep_the_seed_that_was_drawn() {
    let model = tiny();
    let lines = "/set\n/set top-k 3\n/set seed 7\n/set top-k 4\n/set seed -1\n/set\n";
    let found = run_with_input(&["chat", model.str()], lines.as_bytes()).expect_success();
    let seeds: Vec<u32> = found
        .stderr
        .split("seed ")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
        .collect();
    let [drawn, kept, given, still, anew, last] = seeds[..] else { panic!("{found:?}") };
    assert_eq!((kept, given, still, last), (drawn, 7, 7, anew), "{found:?}");
    assert_ne!(anew, 7, "drawn: {found:?}");
}

#[test]
fn a_template_that_writes_nothing_is_told() {
    let model = smollm2();
    let nothing = TempFile::new("nothing.jinja", b"{% set x = 1 %}");
    let args = ["chat", arg(&model), "--chat-template-file", nothing.str()];
    let found = run_with_input(&args, b"Hi\n");
    assert_eq!(found.status, Some(2), "{found:?}");
    assert!(found.stderr.contains("prompt is empty"), "{found:?}");
}
