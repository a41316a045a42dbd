//! The file: its hash and its header.
use super::{
    certificate::{Header, Tensors},
    ladder::{Cancel, Climbed, Step},
};
use crate::{
    errors::{At, CliError, Exit},
    human, inspect,
    interrupt::Stop,
    progress::Progress,
};
use gguf_parse::Gguf;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The file's SHA-256.
pub(super) fn hash(path: &Path, cancel: &Cancel) -> Climbed<String> {
    // What is no regular file may have no end, and the header tells what is wrong with it.
    let n_bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Ok(Step::skipped("it is no regular file")),
        Err(_) => return Ok(Step::skipped("it cannot be looked at")),
    };
    let unreadable =
        |e: io::Error| CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}"));
    let file = File::open(path).map_err(unreadable)?;
    let hash = sha256(file, Some(n_bytes), cancel)?.map_err(unreadable)?;
    let detail = format!("{}, SHA-256 {hash}", human::bytes(n_bytes));
    Ok(Step::ok(hash, detail))
}

/// Hashes what `reader` gives, with a progress bar, until Ctrl-C.
fn sha256(
    reader: impl Read,
    n_bytes: Option<u64>,
    cancel: &Cancel,
) -> Result<io::Result<String>, Stop> {
    let bar = Progress::bytes("hashing");
    let reader = Watched { reader, cancel: cancel.flag(), bar, done: 0, all: n_bytes };
    let hash = model_store::sha256_of(reader);
    cancel.check()?;
    Ok(hash)
}

/// A reader that ends early on Ctrl-C.
struct Watched<R> {
    reader: R,
    cancel: Arc<AtomicBool>,
    bar: Progress,
    done: u64,
    all: Option<u64>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let n = self.reader.read(buf)?;
        self.done += n as u64;
        self.bar.set(self.done, self.all);
        Ok(n)
    }
}

/// Opens the file: everything that can be known from its header is checked.
pub(super) fn header(path: &Path, cancel: &Cancel) -> Climbed<(Arc<Gguf>, Header)> {
    let gguf = Gguf::open(path).at(path)?;
    let metadata = gguf.metadata();
    let text = |key: &str| metadata.get::<&str>(key).ok().map(str::to_owned);
    let mut shards = Vec::new();
    for shard in 1..gguf.n_shards() {
        let bytes = gguf.shard_bytes(shard).unwrap_or_default();
        let hash = sha256(bytes, Some(bytes.len() as u64), cancel)?;
        shards.push(hash.map_err(|e| {
            CliError::new("E-OPEN", Exit::Unreadable, format!("cannot be read: {e}"))
        })?);
    }
    let types = inspect::plan::by_type(&gguf);
    let header = Header {
        version: gguf.version(),
        architecture: text("general.architecture"),
        name: text("general.name"),
        n_keys: metadata.len(),
        alignment: gguf.alignment(),
        sha256_of_other_shards: shards,
        types: types
            .iter()
            .map(|(ty, sum)| Tensors {
                ty: ty.name(),
                n_tensors: sum.n_tensors,
                n_weights: sum.n_elems,
                n_bytes: sum.n_bytes,
            })
            .collect(),
    };
    let by_type: Vec<_> =
        types.iter().map(|(ty, sum)| format!("{} {}", sum.n_tensors, ty.name())).collect();
    let detail = format!(
        "GGUF v{}, {} keys, {} tensors ({})",
        header.version,
        header.n_keys,
        gguf.tensors().len(),
        by_type.join(", ")
    );
    let notes = gguf.warnings().to_vec();
    Ok(Step::ok((Arc::new(gguf), header), detail).with_notes(notes))
}
