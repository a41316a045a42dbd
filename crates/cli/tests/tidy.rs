//! House rules that the compiler does not check.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Every arrow there may be between crates of the workspace.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "lockstep",
        &[
            "llama-model",
            "tokenizer",
            "sampler",
            "chat-template",
            "perplexity",
            "dequant",
            "gguf-parse",
            "compare",
            "model-store",
        ],
    ),
    ("llama-model", &["kernels", "dequant", "gguf-parse"]),
    ("kernels", &["dequant"]),
    ("dequant", &["gguf-parse"]),
    ("tokenizer", &["gguf-parse"]),
    ("gguf-parse", &[]),
    ("sampler", &[]),
    ("chat-template", &[]),
    ("perplexity", &[]),
    ("compare", &[]),
    ("model-store", &[]),
    ("golden", &[]),
];

/// What tests may use besides, of any crate and of one.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("", &["golden", "model-store"]),
    ("llama-model", &["sampler", "tokenizer", "compare"]),
    ("chat-template", &["gguf-parse", "tokenizer"]),
];

fn allowed<'a>(table: &[(&str, &'a [&'a str])], from: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == from).map_or(&[], |(_, to)| to)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The workspace's packages as `cargo metadata` tells them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name(value: &Value) -> String {
    value["name"].as_str().unwrap().to_owned()
}

/// (crate, dependency, kind) for each dependency between crates of the workspace.
fn arrows() -> Vec<(String, String, String)> {
    let packages = packages();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let known: BTreeSet<String> = ARROWS.iter().map(|(from, _)| (*from).to_owned()).collect();
    assert_eq!(ours, known, "a new crate is drawn in ARCHITECTURE.md and here");
    let mut arrows = Vec::new();
    for package in &packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            if ours.contains(&name(dependency)) {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                arrows.push((name(package), name(dependency), kind));
            }
        }
    }
    arrows
}

#[test]
fn dependencies_are_the_arrows_drawn() {
    let arrows = arrows();
    assert!(arrows.len() > 10, "{arrows:?}");
    for (from, to, kind) in arrows {
        let normal = allowed(ARROWS, &from).contains(&to.as_str());
        let test = [&from, ""].iter().any(|name| allowed(TEST_ARROWS, name).contains(&to.as_str()));
        assert!(normal || (kind == "dev" && test), "{from} -> {to} ({kind}) is not drawn");
    }
}

#[test]
fn the_architecture_draws_the_same_arrows() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut drawn = Vec::new();
    for line in text.lines() {
        // `llama-model -> kernels, dequant, gguf-parse`; remarks stand in brackets or behind a semicolon.
        let Some((from, to)) = line.split_once(" -> ") else { continue };
        let to = to.split([';', '(']).next().unwrap();
        let mut to: Vec<_> = to.split(',').map(str::trim).filter(|t| *t != "nothing").collect();
        to.sort_unstable();
        let from = from.trim();
        drawn.push((if from == "cli" { "lockstep" } else { from }, to));
    }
    for (from, to) in ARROWS {
        let mut wanted = to.to_vec();
        wanted.sort_unstable();
        let found = drawn.iter().find(|(name, _)| name == from).map(|(_, to)| to);
        if *from != "gguf-parse" || found.is_some() {
            assert_eq!(found, Some(&wanted), "the arrows of {from} in ARCHITECTURE.md");
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("## Dependencies").nth(1).unwrap();
    let explained: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|names| names.split(", "))
        .collect();
    let packages = packages();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    for package in &packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let wanted = name(dependency);
            let known = ours.contains(&wanted) || explained.contains(wanted.as_str());
            assert!(known, "{} uses {wanted}; ARCHITECTURE.md does not say why", name(package));
        }
    }
}

#[test]
fn no_crate_has_a_build_script() {
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kinds = target["kind"].as_array().unwrap();
            assert!(!kinds.contains(&"custom-build".into()), "{} has one", name(&package));
        }
    }
}

#[test]
fn the_whole_engine_is_an_example_of_forty_lines() {
    let example = root().join("crates/llama-model/examples/generate.rs");
    let n = fs::read_to_string(example).unwrap().lines().count();
    assert!(n <= 40, "{n} lines");
}

/// What a change must pass, step by step: `.ci/run` forgets none.
#[test]
fn ci_has_every_check() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for step in [
        "INSTA_UPDATE=no",
        "cargo fmt --all --check",
        "cargo clippy --workspace --all-targets",
        "-D warnings\" step cargo doc --workspace",
        "step cargo test\n",
        "step cargo test-models",
        "cargo check --workspace",
        "aarch64-unknown-linux-gnu",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
        "step crates/kernels/test-aarch64.sh",
        "step cargo test -p lockstep --test browser",
        "--example generate",
        "step cargo run --release -- run \"The capital of France is\"",
    ] {
        assert!(ci.contains(step), ".ci/run has no {step:?}");
    }
}

/// Every Rust file of the workspace below `crates/` and `golden/`.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![root().join("crates"), root().join("golden")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_target = path.file_name().is_some_and(|name| name == "target");
            if path.is_dir() && !is_target {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "{} files", files.len());
    files
}

fn is_test(path: &Path) -> bool {
    let in_tests =
        path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "benches");
    let name = path.file_name().unwrap().to_string_lossy();
    in_tests || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// Lines before the unit tests of a file.
fn n_lines(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
}

#[test]
fn no_file_is_long_without_a_reason() {
    for path in sources().iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        let n = n_lines(&text);
        let reason = text.lines().any(|line| line.starts_with("// Longer than 600 lines because "));
        assert!(n <= 600 || reason, "{} has {n} lines", path.display());
    }
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut n_found = 0;
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            // Taken apart, so that this line is not found.
            let uses = ["{", "fn ", "impl", "trait"].map(|what| ["un", "safe ", what].concat());
            if !uses.iter().any(|u| code.contains(u)) {
                continue;
            }
            n_found += 1;
            // What a trait's method demands stands at the trait.
            let item = lines[..i].iter().rfind(|l| l.starts_with(|c: char| c.is_ascii_lowercase()));
            let in_impl = item.is_some_and(|l| l.starts_with("impl") && l.contains(" for "));
            if in_impl && code.starts_with(' ') && code.contains(&uses[1]) {
                continue;
            }
            // The note stands above, perhaps over attributes, a signature or a sibling.
            let above = &lines[i.saturating_sub(25)..=i];
            let noted = above.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
            assert!(noted, "{}:{} has no SAFETY note: {line}", path.display(), i + 1);
        }
    }
    assert!(n_found > 0, "the pattern finds nothing");
}

#[test]
fn unsafe_is_in_four_places() {
    // Taken apart, so that this file is not found.
    let word = ["un", "safe "].concat();
    let places = [
        "crates/gguf-parse/src/file.rs",
        "crates/dequant/src/block.rs",
        "crates/kernels/src/x86_64/",
        "crates/kernels/src/aarch64/",
        "crates/kernels/src/team",
    ];
    for path in sources().iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        let mut code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let known = places.iter().any(|place| relative.starts_with(place));
        assert!(known || !code.any(|line| line.contains(&word)), "{relative} is none of them");
    }
}

#[test]
fn no_place_of_one_machine_is_named() {
    // Put together here, so that this file does not name them itself.
    let hosts =
        [["py", "pi.org"].concat(), ["pythonhosted", ".org"].concat(), ["crates", ".io"].concat()];
    let places = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/ho", "me/"].concat()];
    let mut files = sources();
    for name in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "golden/README.md"]
    {
        files.extend(Some(root().join(name)).filter(|path| path.exists()));
    }
    for folder in
        ["docs", "tools", "golden/capture", "bench", "bench/peers", "bench/peers/candle/src"]
    {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            files.extend(Some(entry.unwrap().path()).filter(|path| path.is_file()));
        }
    }
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for word in hosts.iter().chain(&places) {
            assert!(!text.contains(word.as_str()), "{} names {word}", path.display());
        }
    }
}
