//! Files that appear when they are whole: written under another name, synced, renamed.
use crate::errors::{CliError, Exit};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file being written. Dropped before [`Self::persist`], nothing is left of it.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: BufWriter<NamedTempFile>,
    target: PathBuf,
}

impl NewFile {
    /// Begins a file that will be at `target`, in the place of what is there now.
    pub(crate) fn create(target: &Path) -> Result<Self, CliError> {
        // Renaming would put a file in the place of a device or a pipe, and of a folder fail after all the work.
        if fs::metadata(target).is_ok_and(|found| !found.is_file()) {
            return Err(unwritable(&io::Error::other("it is no regular file"), target));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = target.file_name().unwrap_or_default();
        let file = tempfile::Builder::new()
            .prefix(name)
            .suffix(".part")
            // Not tempfile's own way, which makes files that only their owner may read.
            .make_in(folder.unwrap_or(Path::new(".")), |path| File::create_new(path))
            .map_err(|e| unwritable(&e, target))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 20, file), target: target.to_owned() })
    }

    /// Where it will be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its name.
    pub(crate) fn persist(self) -> Result<(), CliError> {
        let Self { file, target } = self;
        let synced = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
            file.as_file().sync_all()?;
            file.persist(&target)?.sync_all()
        });
        synced.map_err(|e| unwritable(&e, &target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn unwritable(error: &io::Error, target: &Path) -> CliError {
    CliError::new("E-WRITE", Exit::Io, format!("cannot be written: {error}")).at(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let path = folder.path().join("x");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"1").unwrap();
        assert_ne!(names(), ["x"]);
        drop(file);
        assert_eq!(names(), [""; 0]);

        fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.persist().unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["x".to_owned()], b"new".to_vec()));

        assert_eq!(NewFile::create(folder.path()).unwrap_err().exit, Exit::Io);
        let nowhere = folder.path().join("no/x");
        assert_eq!(NewFile::create(&nowhere).unwrap_err().exit, Exit::Io);
    }
}
