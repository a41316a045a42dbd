//! `lockstep pull`, `list` and `rm`: the models that have a name.
use crate::{
    errors::{CliError, Exit, one_line},
    human, output,
    progress::Progress,
};
use clap::Args;
use model_store::Store;
use serde::Serialize;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A short name (see `lockstep list`), hf:OWNER/REPO/FILE.gguf or hf:OWNER/REPO:QUANT
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names as `lockstep list` shows them; hf:OWNER/REPO and hf:OWNER/REPO:QUANT will do if they fit one model
    #[arg(required = true)]
    names: Vec<String>,
}

/// Runs `lockstep pull`. What was fetched in part before goes on from there.
pub(crate) fn pull(args: &PullArgs) -> Result<Exit, CliError> {
    let (started, mut fetched) = (Instant::now(), 0);
    let mut bar = Progress::bytes("fetching");
    let path = Store::open()?.resolve(&args.name, &mut |done, all| {
        fetched = fetched.max(done);
        bar.set(done, all);
    })?;
    drop(bar);
    output::print(&format!("{}\n", path.display()))?;
    if fetched > 0 {
        let seconds = started.elapsed().as_secs_f64();
        let (size, speed) = (human::bytes(fetched), human::bytes(per_second(fetched, seconds)));
        output::eprint_line(&format!("{size} fetched and verified in {seconds:.1} s, {speed}/s"));
    }
    Ok(Exit::Ok)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "three digits are shown, and the cast stops at the end of the range"
)]
fn per_second(n: u64, seconds: f64) -> u64 {
    (n as f64 / seconds) as u64
}

/// Runs `lockstep rm`.
pub(crate) fn rm(args: &RmArgs) -> Result<Exit, CliError> {
    let store = Store::open()?;
    for name in &args.names {
        let removed = store.remove(name)?;
        for file in &removed.files {
            output::print(&format!("removed {}\n", one_line(&file.display().to_string())))?;
        }
        output::print(&format!("{name}: {} freed\n", human::bytes(removed.n_bytes)))?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// Of a model of the registry table.
    description: Option<&'static str>,
    n_bytes: u64,
    sha256: String,
    /// Where it is, if it is in the cache.
    path: Option<String>,
    /// When it came there, in seconds since 1970.
    fetched: Option<u64>,
    #[serde(skip)]
    day: Option<String>,
}

/// The models of the registry table, in the cache or not, and the others in the cache.
fn rows(store: &Store) -> Vec<Row> {
    let mut cached = store.list();
    let known = model_store::registry().iter().map(|model| {
        let at = cached.iter().position(|c| c.name == model.name);
        let mut row = Row {
            name: model.name.to_owned(),
            description: Some(model.description),
            n_bytes: model.n_bytes,
            sha256: model.sha256.to_owned(),
            path: None,
            fetched: None,
            day: None,
        };
        if let Some(at) = at {
            row.found(&cached.remove(at));
        }
        row
    });
    let mut rows: Vec<Row> = known.collect();
    rows.extend(cached.iter().map(|model| {
        let mut row = Row {
            name: model.name.clone(),
            description: None,
            n_bytes: model.n_bytes,
            sha256: model.sha256.clone(),
            path: None,
            fetched: None,
            day: None,
        };
        row.found(model);
        row
    }));
    rows
}

impl Row {
    fn found(&mut self, model: &model_store::CachedModel) {
        self.path = Some(model.path.display().to_string());
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
        self.fetched = model.modified.and_then(since).map(|since| since.as_secs());
        self.day = model.modified.map(human::date);
    }
}

/// Runs `lockstep list`.
pub(crate) fn list(args: &ListArgs) -> Result<Exit, CliError> {
    let rows = rows(&Store::open()?);
    if args.json {
        output::print_json(&rows)?;
        return Ok(Exit::Ok);
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    output::print_with(|out| {
        writeln!(out, "{:<width$}  {:>8}  {:<10}", "NAME", "SIZE", "FETCHED")?;
        for row in &rows {
            let (name, size) = (one_line(&row.name), human::bytes(row.n_bytes));
            let day = row.day.as_deref().unwrap_or("not yet");
            let place = row.path.as_deref().or(row.description).unwrap_or_default();
            writeln!(out, "{name:<width$}  {size:>8}  {day:<10}  {}", one_line(place))?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}
