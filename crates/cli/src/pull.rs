//! `lockstep pull` and `lockstep list`: the models that have a name.
use crate::{
    args::{ListArgs, PullArgs},
    errors::{CliError, Exit},
    human, output,
    progress::Progress,
};
use model_store::Store;
use serde::Serialize;

/// Runs `lockstep pull`.
pub(crate) fn pull(args: &PullArgs) -> Result<Exit, CliError> {
    let mut bar = Progress::bytes("fetching");
    let path = Store::open()?.resolve(&args.name, &mut |done, all| bar.set(done, all))?;
    drop(bar);
    output::print(&format!("{}\n", path.display()))?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    description: &'static str,
    n_bytes: u64,
    sha256: &'static str,
    /// Where it is, if it is in the cache.
    path: Option<String>,
}

/// Runs `lockstep list`.
pub(crate) fn list(args: &ListArgs) -> Result<Exit, CliError> {
    let store = Store::open()?;
    let row = |model: &'static model_store::RegistryModel| Row {
        name: model.name,
        description: model.description,
        n_bytes: model.n_bytes,
        sha256: model.sha256,
        path: store.cached(model).map(|path| path.display().to_string()),
    };
    let rows: Vec<Row> = model_store::registry().iter().map(row).collect();
    if args.json {
        output::print_json(&rows)?;
        return Ok(Exit::Ok);
    }
    output::print_with(|out| {
        for row in &rows {
            let (name, size) = (row.name, human::bytes(row.n_bytes));
            writeln!(out, "{name:<20} {size:>9}  {}", row.description)?;
            let place = row.path.as_deref().unwrap_or("not fetched yet");
            writeln!(out, "{:>30}  {place}", "")?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}
