//! `lockstep compare`: two traces, and where they part.
pub(crate) mod args;

use crate::{
    errors::{At, CliError, Exit},
    output,
};
use args::CompareArgs;
use compare::{Others, TraceFile};
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Runs the command.
pub(crate) fn compare(args: &CompareArgs) -> Result<Exit, CliError> {
    let open = |path: &Path| TraceFile::open(path).at(path);
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let noise = args.noise.as_deref().map(open).transpose()?;
    let oracle = args.oracle.as_deref().map(open).transpose()?;
    let others = Others { noise: noise.as_ref(), oracle: oracle.as_ref() };
    let found = compare::compare(&a, &b, others).at(&args.a)?;
    if let Some(path) = &args.html {
        let page = compare::html(&found, &a, &b).at(&args.a)?;
        write(path, page.as_bytes()).map_err(|e| {
            CliError::new("E-IO", Exit::Io, format!("cannot be written: {e}")).at(path)
        })?;
    }
    if args.json {
        output::print_json(&found)?;
    } else {
        output::print(&compare::text(&found, &a, &b, args.full))?;
    }
    Ok(if found.in_lockstep { Exit::Ok } else { Exit::Diverged })
}

/// A file that is there whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no regular file"));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let written = fs::File::create(part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(part, path)).inspect_err(|_| drop(fs::remove_file(part)))
}
