//! What needs a file system: things that are no files (row H15), split models (row D07), and writing.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]
use gguf_parse::{ErrorClass, GgmlType, Gguf, GgufError, GgufPlan, Value};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn refusal(path: &Path) -> (&'static str, ErrorClass) {
    let error = Gguf::open(path).expect_err("must be refused");
    (error.code(), error.class())
}

#[test]
fn a_missing_file_is_unreadable() {
    assert_eq!(refusal(&folder().path().join("no.gguf")), ("E-OPEN", ErrorClass::Unreadable));
}

#[test]
fn a_folder_is_refused() {
    assert_eq!(refusal(folder().path()), ("E-FILE", ErrorClass::Unreadable));
}

#[test]
fn an_empty_file_is_truncated() {
    let folder = folder();
    let path = folder.path().join("empty.gguf");
    fs::write(&path, "").unwrap();
    assert_eq!(refusal(&path), ("E-TRUNC", ErrorClass::Malformed));
}

/// None of these may be waited for.
#[cfg(unix)]
#[test]
fn pipes_sockets_devices_and_loops_are_refused() {
    let folder = folder();
    let start = std::time::Instant::now();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success(), "mkfifo");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &socket, Path::new("/dev/zero"), Path::new("/dev/random")] {
        assert_eq!(refusal(path), ("E-FILE", ErrorClass::Unreadable), "{}", path.display());
    }
    let link = folder.path().join("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    assert_eq!(refusal(&link), ("E-OPEN", ErrorClass::Unreadable));
    assert!(start.elapsed().as_secs() < 10, "something was waited for: {:?}", start.elapsed());
}

/// A split model of `n` shards with a tensor each, in `folder` under the name `m`.
struct Split {
    shards: Vec<GgufPlan>,
}

impl Split {
    fn new(n: u16) -> Self {
        let shards = (0..n).map(|no| {
            let mut plan = GgufPlan::new();
            plan.set("split.no", Value::U16(no)).set("split.count", Value::U16(n));
            plan.set("split.tensors.count", Value::I32(n.into()));
            plan.tensor(&format!("t{no}"), GgmlType::F32, &[2]);
            plan
        });
        Self { shards: shards.collect() }
    }

    /// Writes them, and opens the first.
    fn open(&self, folder: &Path) -> Result<Gguf, GgufError> {
        let n = self.shards.len();
        for (no, plan) in self.shards.iter().enumerate() {
            let data = (no as f32).to_le_bytes().repeat(2);
            let path = folder.join(format!("m-{:05}-of-{n:05}.gguf", no + 1));
            fs::write(path, plan.to_bytes(&[&data])?).expect("written");
        }
        Gguf::open(&folder.join(format!("m-00001-of-{n:05}.gguf")))
    }

    fn refusal(&self) -> (String, ErrorClass) {
        let error = self.open(folder().path()).expect_err("must be refused");
        (error.code().to_string(), error.class())
    }
}

#[test]
fn a_split_model_is_one_model() {
    let folder = folder();
    let gguf = Split::new(3).open(folder.path()).unwrap();
    assert_eq!((gguf.n_shards(), gguf.tensors().len(), gguf.warnings().len()), (3, 3, 0));
    for no in 0..3_u8 {
        let view = gguf.tensor(&format!("t{no}")).unwrap();
        assert_eq!(view.data, f32::from(no).to_le_bytes().repeat(2), "shard {no}");
    }
    assert_eq!(gguf.file_bytes() % 32, 0);
    // The siblings are beside the first, however it is reached.
    let around = folder
        .path()
        .join("..")
        .join(folder.path().file_name().unwrap())
        .join("m-00001-of-00003.gguf");
    assert_eq!(Gguf::open(&around).unwrap().tensors().len(), 3);
}

#[test]
fn a_missing_or_broken_shard_is_named() {
    let folder = folder();
    Split::new(2).open(folder.path()).unwrap();
    let second = folder.path().join("m-00002-of-00002.gguf");
    let first = folder.path().join("m-00001-of-00002.gguf");
    let whole = fs::read(&second).unwrap();
    fs::write(&second, &whole[..whole.len() - 32]).unwrap();
    assert_eq!(refusal(&first), ("E-TRUNC", ErrorClass::Malformed));
    fs::remove_file(&second).unwrap();
    assert_eq!(refusal(&first), ("E-OPEN", ErrorClass::Unreadable));
    assert_eq!(Gguf::open(&first).unwrap_err().to_string(), r#"shard "m-00002-of-00002.gguf""#);
}

#[test]
fn shards_must_be_opened_first_to_last_and_by_their_names() {
    let folder = folder();
    Split::new(2).open(folder.path()).unwrap();
    let second = folder.path().join("m-00002-of-00002.gguf");
    let error = Gguf::open(&second).unwrap_err();
    assert_eq!(error.code(), "E-SPLIT");
    assert_eq!(
        error.to_string(),
        r#"split.no is 1; must be 0: open the first shard, "m-00001-of-00002.gguf""#
    );
    let renamed = folder.path().join("renamed.gguf");
    fs::rename(folder.path().join("m-00001-of-00002.gguf"), &renamed).unwrap();
    assert_eq!(refusal(&renamed), ("E-SPLIT", ErrorClass::Malformed));
    let bytes = fs::read(&renamed).unwrap();
    assert_eq!(Gguf::from_bytes(bytes).unwrap_err().code(), "E-SPLIT");
}

#[test]
fn shards_must_agree() {
    let changed = |change: &dyn Fn(&mut Vec<GgufPlan>)| {
        let mut split = Split::new(2);
        change(&mut split.shards);
        split.refusal()
    };
    let malformed = |code: &str| (code.to_string(), ErrorClass::Malformed);
    assert_eq!(changed(&|s| _ = s[0].set("split.count", Value::U16(0))), malformed("E-SPLIT"));
    assert_eq!(
        changed(&|s| _ = s[0].set("split.count", Value::U32(65_536))),
        malformed("E-KEYTYPE")
    );
    assert_eq!(
        changed(&|s| _ = s[0].set("split.count", Value::U16(u16::MAX))),
        malformed("E-SPLIT")
    );
    assert_eq!(changed(&|s| _ = s[0].remove("split.no")), malformed("E-KEY"));
    assert_eq!(changed(&|s| _ = s[0].remove("split.tensors.count")), malformed("E-KEY"));
    assert_eq!(
        changed(&|s| _ = s[0].set("split.tensors.count", Value::I32(3))),
        malformed("E-SPLIT")
    );
    assert_eq!(
        changed(&|s| _ = s[0].set("split.tensors.count", Value::I32(-1))),
        malformed("E-SPLIT")
    );
    assert_eq!(changed(&|s| _ = s[1].set("split.no", Value::U16(0))), malformed("E-SPLIT"));
    assert_eq!(changed(&|s| _ = s[1].set("split.count", Value::U16(3))), malformed("E-SPLIT"));
    assert_eq!(changed(&|s| _ = s[1].remove("split.no")), malformed("E-KEY"));
    // `GgufPlan` has no way to rename a tensor: the second shard is the first one's twin.
    let twin = |s: &mut Vec<GgufPlan>| {
        s[1] = s[0].clone();
        s[1].set("split.no", Value::U16(1));
    };
    assert_eq!(changed(&twin), malformed("E-DUPTENSOR"));
}

#[test]
fn a_file_appears_when_it_is_whole() {
    let folder = folder();
    let path = folder.path().join("new.gguf");
    let names = || {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let mut plan = GgufPlan::new();
    plan.set("a", Value::Bool(true)).tensor("x", GgmlType::Q8_0, &[32, 3]).tensor(
        "y",
        GgmlType::F32,
        &[3],
    );

    let mut writer = plan.create(&path).unwrap();
    writer.write_tensor(&[1; 102]).unwrap();
    assert_eq!(writer.write_tensor(&[2; 13]).unwrap_err().code(), "E-DATASIZE");
    assert_eq!(writer.finish().unwrap_err().code(), "E-DATASIZE", "a tensor is missing");
    assert_eq!(
        names(),
        Vec::<std::ffi::OsString>::new(),
        "nothing is left of a file that was given up"
    );

    let mut writer = plan.create(&path).unwrap();
    writer.write_tensor(&[1; 102]).unwrap();
    writer.write_tensor(&[2; 12]).unwrap();
    assert_eq!(writer.write_tensor(&[]).unwrap_err().code(), "E-DATASIZE", "one too many");
    assert!(!path.exists(), "not yet finished");
    writer.finish().unwrap();
    assert_eq!(names(), ["new.gguf"]);
    assert_eq!(fs::read(&path).unwrap(), plan.to_bytes(&[&[1; 102], &[2; 12]]).unwrap());
    assert_eq!(Gguf::open(&path).unwrap().tensor("y").unwrap().data, [2; 12]);
}

#[test]
fn only_files_are_replaced() {
    let folder = folder();
    let mut plan = GgufPlan::new();
    plan.set("a", Value::Bool(true));
    let refused = |path: &Path| {
        let error = plan.create(path).unwrap_err();
        assert_eq!((error.code(), error.class()), ("E-WRITE", ErrorClass::Io), "{error}");
    };
    refused(folder.path());
    if cfg!(unix) {
        // Renaming would turn the device into a file for everybody.
        refused(Path::new("/dev/null"));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        refused(&pipe);
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }
    // What is left of a process that had this one's number is in nobody's way.
    let target = folder.path().join("new.gguf");
    let left = folder.path().join(format!("new.gguf.{}-0.part", std::process::id()));
    fs::write(&left, b"left").unwrap();
    plan.create(&target).unwrap().finish().unwrap();
    assert_eq!(fs::read(&left).unwrap(), b"left");
}

#[test]
fn a_file_that_could_not_be_opened_is_not_written() {
    let folder = folder();
    let code =
        |plan: &GgufPlan| plan.create(&folder.path().join("x.gguf")).map(drop).unwrap_err().code();
    assert_eq!(code(GgufPlan::new().set("", Value::U8(0))), "E-KEY");
    assert_eq!(code(GgufPlan::new().set("general.alignment", Value::U32(3))), "E-ALIGN");
    assert_eq!(code(GgufPlan::new().set("general.alignment", Value::U8(0))), "E-KEYTYPE");
    assert_eq!(code(GgufPlan::new().tensor("x", GgmlType::Q4_K, &[32])), "E-BLOCK");
    assert_eq!(code(GgufPlan::new().tensor("x", GgmlType::F32, &[1, 1, 1, 1, 2])), "E-NDIMS");
    assert_eq!(code(GgufPlan::new().tensor("x", GgmlType::F32, &[u64::MAX])), "E-DIM");
    assert_eq!(
        code(GgufPlan::new().tensor("x", GgmlType::F32, &[1]).tensor("x", GgmlType::F32, &[1])),
        "E-DUPTENSOR"
    );
    assert_eq!(code(GgufPlan::new().tensor(&"x".repeat(64), GgmlType::F32, &[1])), "E-NAME");
    let missing = folder.path().join("no").join("x.gguf");
    let error = GgufPlan::new().set("a", Value::U8(0)).create(&missing).unwrap_err();
    assert_eq!((error.code(), error.class()), ("E-WRITE", ErrorClass::Io));
}

#[test]
fn a_model_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Gguf>();
    shareable::<GgufError>();
}
