use super::*;
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the server treats a file.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    /// Announces this ETag instead of the SHA-256.
    Etag(&'static str),
    /// Closes the connection halfway, once.
    CutsOnce,
    Status(u16),
}

/// A hub on 127.0.0.1 with one file, behind a redirect as large files are.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn data() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Each file has its own bytes.
fn data_of(path: &str) -> Vec<u8> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut bytes = data();
    let n = name.len().min(bytes.len());
    if name != "x.gguf" {
        bytes[..n].copy_from_slice(&name.as_bytes()[..n]);
    }
    bytes
}

impl Server {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let server = Self { endpoint: endpoint.clone(), requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            let mut cut = mood == Mood::CutsOnce;
            for stream in listener.incoming() {
                // A client that goes away is part of the tests.
                drop(answer(stream.unwrap(), mood, &endpoint, &requests, &mut cut));
            }
        });
        server
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    mood: Mood,
    endpoint: &str,
    requests: &Mutex<Vec<String>>,
    cut: &mut bool,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut token) = (None, String::new());
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(": ").unwrap_or_default();
        match key.to_ascii_lowercase().as_str() {
            "range" => range = value.strip_prefix("bytes=").map(str::to_owned),
            "authorization" => value.clone_into(&mut token),
            _ => {}
        }
    }
    let range = range.unwrap_or_default();
    requests.lock().unwrap().push(format!("{path} {range} {token}"));
    let mut out = stream;
    if let Mood::Status(code) = mood {
        return write!(out, "HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if path.starts_with("/api/models/o/r") {
        let files = ["README.md", "m-F16.gguf", "m-Q4_K_M.gguf", "s-Q6_K-00001-of-00002.gguf"];
        let files = files.map(|file| format!("{{\"rfilename\": \"{file}\"}}")).join(", ");
        let body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{files}]}}");
        let n = body.len();
        return write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {n}\r\n\
             Connection: close\r\n\r\n{body}"
        );
    }
    if path.starts_with("/o/r/resolve/") {
        let sha256 = hash::sha256_of(&data_of(&path)[..])?;
        let etag = if let Mood::Etag(etag) = mood { etag } else { &sha256 };
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: {endpoint}/cdn{path}\r\nX-Repo-Commit: {COMMIT}\r\n\
             X-Linked-ETag: \"{etag}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let (start, end) = range.split_once('-').unwrap_or(("0", ""));
    let (data, start) = (data_of(&path), start.parse::<usize>().unwrap());
    let end = end.parse().map_or(data.len(), |e: usize| e + 1);
    let body = &data[start..end];
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        end - 1,
        data.len(),
        body.len()
    )?;
    if body.len() > 1 && std::mem::take(cut) {
        return out.write_all(&body[..500_000]);
    }
    out.write_all(body)
}

fn hub(server: &Server, root: &TempDir) -> Hub {
    Hub {
        folder: root.path().join("hub"),
        shared: None,
        endpoint: Some(server.endpoint.clone()),
        token: None,
    }
}

fn resolve(hub: &Hub, rest: &str) -> Result<PathBuf, StoreError> {
    hub.resolve("hf:…", &HubName::parse(rest).unwrap(), &mut |_, _| {})
}

#[test]
fn names() {
    let file = HubFile::parse("o/r/sub/x.gguf").unwrap();
    assert_eq!((file.repo.as_str(), file.revision.as_str()), ("o/r", "main"));
    assert_eq!(file.files, ["sub/x.gguf"]);
    assert_eq!(HubFile::parse("o/r@v1.0/x.gguf").unwrap().revision, "v1.0");
    let split = HubFile::parse("o/r/m-00001-of-00003.gguf").unwrap();
    let all = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];
    assert_eq!(split.files, all);
    assert_eq!(HubFile::parse("o/r/m-00002-of-00003.gguf").unwrap().files.len(), 1);
    assert_eq!(HubFile::parse("o/r/m-00001-of-99999.gguf").unwrap().files.len(), 1);
    let repo = |rest| match HubName::parse(rest) {
        Some(HubName::Repo(repo)) => (repo.repo, repo.revision, repo.quant.unwrap_or_default()),
        other => panic!("{rest}: {other:?}"),
    };
    assert_eq!(repo("o/r"), ("o/r".into(), "main".into(), String::new()));
    assert_eq!(repo("o/r@v1:Q4_K_M"), ("o/r".into(), "v1".into(), "Q4_K_M".into()));
    for bad in
        ["", "o", "o/r:", "o/r:a/b", "o/r:..", "../r:x", "o/r/x.bin", "o/r/x.gguf:Q4_0", "o:r"]
    {
        assert_eq!(HubName::parse(bad), None, "{bad:?}");
    }
    for bad in [
        "",
        "o",
        "o/r",
        "o/r/",
        "o/r/x.bin",
        "../r/x.gguf",
        "o/../x.gguf",
        "o/r/../x.gguf",
        "o//x.gguf",
        "o/r/a//x.gguf",
        "o/r/x y.gguf",
        "o/r/x?a=.gguf",
        "o/r@/x.gguf",
        "o/r@../x.gguf",
        "o/r/.gguf",
    ] {
        assert_eq!(HubFile::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn fetched_once_and_verified() {
    let (server, root) = (Server::start(Mood::Honest), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, &root);
    hub.token = Some("secret".to_owned());
    let mut steps = Vec::new();
    let file = HubName::parse("o/r@dev/x.gguf").unwrap();
    let path = hub.resolve("hf:…", &file, &mut |done, all| steps.push((done, all))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), data());
    assert!(path.starts_with(root.path()), "{path:?}");
    assert_eq!(steps.last(), Some(&(1_200_000, Some(1_200_000))));
    let requests = server.requests();
    assert!(requests[0].starts_with("/o/r/resolve/dev/x.gguf 0-0 Bearer secret"), "{requests:?}");
    assert_eq!(hub.resolve("hf:…", &file, &mut |_, _| {}).unwrap(), path);
    assert_eq!(server.requests(), requests, "the second time needs no network");
    // The cache of Python's client has the same layout.
    let other = Hub {
        folder: root.path().join("elsewhere"),
        shared: Some(root.path().join("hub")),
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        token: None,
    };
    assert_eq!(resolve(&other, "o/r@dev/x.gguf").unwrap(), path);
}

#[test]
fn a_repository_and_a_quantization_are_a_file() {
    let (server, root) = (Server::start(Mood::Honest), tempfile::tempdir().unwrap());
    let here = hub(&server, &root);
    assert!(resolve(&here, "o/r").unwrap().ends_with("m-Q4_K_M.gguf"));
    let path = resolve(&here, "o/r:f16").unwrap();
    assert!(path.ends_with("m-F16.gguf"), "{path:?}");
    assert!(resolve(&here, "o/r:Q6_K").unwrap().ends_with("s-Q6_K-00001-of-00002.gguf"));
    let error = resolve(&here, "o/r:Q2_K").unwrap_err();
    assert!(matches!(error, StoreError::HubFile { .. }), "{error}");
    assert!(error.to_string().contains("m-F16.gguf"), "{error}");
    let offline = Hub { endpoint: Some("http://127.0.0.1:9".to_owned()), ..hub(&server, &root) };
    assert_eq!(resolve(&offline, "o/r:f16").unwrap(), path, "what is there needs no network");
    assert!(resolve(&offline, "o/r").unwrap().ends_with("m-Q4_K_M.gguf"));
    assert_eq!(resolve(&offline, "o/r:Q2_K").unwrap_err().code(), "E-FETCH");
}

#[test]
fn what_is_there_is_listed_and_removed() {
    let (server, root) = (Server::start(Mood::Honest), tempfile::tempdir().unwrap());
    let here = hub(&server, &root);
    let store = crate::Store::at(root.path());
    assert_eq!(store.list(), [], "an empty cache");
    for name in ["o/r:Q6_K", "o/r:F16", "o/r@dev/x.gguf"] {
        resolve(&here, name).unwrap();
    }
    let names = |store: &crate::Store| -> Vec<(String, u64)> {
        store.list().into_iter().map(|model| (model.name, model.n_bytes)).collect()
    };
    let (f16, q6_k) = ("hf:o/r/m-F16.gguf", "hf:o/r/s-Q6_K-00001-of-00002.gguf");
    // The server has one commit for all revisions, so `dev` is `main` here.
    let all = [(f16, 1_200_000), (q6_k, 2_400_000), ("hf:o/r/x.gguf", 1_200_000)];
    assert_eq!(names(&store), all.map(|(name, n)| (name.to_owned(), n)));
    for (name, several) in [("hf:o/r", true), ("hf:o/r:Q4_0", false), ("./x.gguf", false)] {
        let error = store.remove(name).unwrap_err();
        assert!(
            matches!(error, StoreError::NotCached { several: s, .. } if s == several),
            "{error}"
        );
    }
    let removed = store.remove("hf:o/r:q6_k").unwrap();
    assert_eq!((removed.n_bytes, removed.files.len()), (2_400_000, 2));
    assert_eq!(store.remove(f16).unwrap().n_bytes, 1_200_000);
    let path = store.list()[0].path.clone();
    assert_eq!(store.remove("hf:o/r").unwrap().n_bytes, 1_200_000);
    assert!(!path.exists() && store.list().is_empty(), "{path:?}");
    assert_eq!(store.remove("hf:o/r").unwrap_err().code(), "E-NOFILE");
    assert!(resolve(&here, "o/r:F16").unwrap().exists(), "fetched anew");
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_outside_stays() {
    let (server, root) = (Server::start(Mood::Honest), tempfile::tempdir().unwrap());
    let path = resolve(&hub(&server, &root), "o/r/x.gguf").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("precious.gguf");
    fs::write(&outside, b"precious").unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    stamp::write(&path, "abc");
    let removed = crate::Store::at(root.path()).remove("hf:o/r").unwrap();
    assert_eq!((removed.n_bytes, removed.files), (0, vec![path]));
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
}

#[test]
fn a_split_model_is_fetched_whole() {
    let (server, root) = (Server::start(Mood::Honest), tempfile::tempdir().unwrap());
    let path = resolve(&hub(&server, &root), "o/r/m-00001-of-00002.gguf").unwrap();
    assert!(path.ends_with("m-00001-of-00002.gguf"), "{path:?}");
    assert!(path.with_file_name("m-00002-of-00002.gguf").exists(), "{path:?}");
}

#[test]
fn a_cut_connection_is_resumed() {
    let (server, root) = (Server::start(Mood::CutsOnce), tempfile::tempdir().unwrap());
    let hub = hub(&server, &root);
    let error = resolve(&hub, "o/r/x.gguf").unwrap_err();
    assert_eq!(error.code(), "E-FETCH", "{error}");
    assert_eq!(fs::read(resolve(&hub, "o/r/x.gguf").unwrap()).unwrap(), data());
    let resumed = server.requests().iter().any(|r| r.contains(" 500000- "));
    assert!(resumed, "{:?}", server.requests());
}

#[test]
fn a_wrong_hash_is_refused_and_removed() {
    let wrong = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let (server, root) = (Server::start(Mood::Etag(wrong)), tempfile::tempdir().unwrap());
    let error = resolve(&hub(&server, &root), "o/r/x.gguf").unwrap_err();
    assert!(matches!(error, StoreError::Hash { .. }), "{error}");
    let blobs = root.path().join("hub/models--o--r/blobs");
    let left =
        fs::read_dir(blobs).unwrap().flatten().map(|e| e.metadata().unwrap().len()).sum::<u64>();
    assert_eq!(left, 0, "the lock of hf-hub may stay");
}

#[test]
fn what_the_server_says_cannot_leave_the_cache() {
    for etag in ["../../../../evil", "/tmp/evil", "..", "a/b"] {
        let (server, root) = (Server::start(Mood::Etag(etag)), tempfile::tempdir().unwrap());
        let error = resolve(&hub(&server, &root), "o/r/x.gguf").unwrap_err();
        assert!(error.to_string().contains("unusable ETag"), "{error}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (code, wanted) in [(404, "no such repository"), (401, "HF_TOKEN"), (503, "503")] {
        let (server, root) = (Server::start(Mood::Status(code)), tempfile::tempdir().unwrap());
        let error = resolve(&hub(&server, &root), "o/r/x.gguf").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("-m PATH"), "{text}");
    }
    let root = tempfile::tempdir().unwrap();
    for endpoint in ["http://127.0.0.1:9", "nonsense", "ftp://x", "http://[::1", "http://a b/"] {
        let server = Server { endpoint: endpoint.to_owned(), requests: Arc::default() };
        let error = resolve(&hub(&server, &root), "o/r/x.gguf").unwrap_err();
        assert_eq!(error.code(), "E-FETCH", "{endpoint}: {error}");
    }
}
