//! `lockstep completions` and `lockstep man`: what clap's own crates make of the command line's definition.
use crate::{
    args::Cli,
    errors::{CliError, Exit},
    output,
};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads them
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into DIR, which is created; without it the main page is printed
    dir: Option<PathBuf>,
}

/// Prints a shell's completions.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    // Into memory first: clap_complete takes a broken pipe for a defect.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lockstep", &mut script);
    output::print_with(|out| out.write_all(&script))?;
    Ok(Exit::Ok)
}

/// Prints the main page, or writes all of them.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        output::print_with(|out| Man::new(command).render(out))?;
        return Ok(Exit::Ok);
    };
    fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
    let commands = command.get_subcommands().filter(|c| c.get_name() != "help").cloned();
    for page in commands.chain([command.clone()]) {
        let (name, text) = page_of(page).map_err(|e| cannot_write(dir, &e))?;
        let path = dir.join(name);
        let temporary = path.with_extension(format!("1.{}", std::process::id()));
        let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written.map_err(|e| cannot_write(&path, &e))?;
        output::print(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Ok)
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::new("E-IO", Exit::Io, format!("cannot write: {error}")).at(path)
}

/// File name and text of a page.
fn page_of(command: Command) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command);
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), text))
}
