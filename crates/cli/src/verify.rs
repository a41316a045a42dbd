//! `lockstep verify`: everything that can be known of a model's file, rung by rung.
pub(crate) mod args;
mod certificate;
mod climb;
mod compared;
mod file;
mod invariance;
mod ladder;
mod logits;
mod tables;
mod tokens;
mod traced;
mod weights;

use crate::{
    errors::{At, CliError, Exit},
    interrupt::Interrupt,
    model,
    new_file::NewFile,
    output,
    run::prompt,
    session,
};
use args::VerifyArgs;
use certificate::{Certificate, File, Flags, Machine};
use climb::{Setup, climb};
use compare::TraceFile;
use ladder::{Cancel, Ladder};
use llama_model::Isa;
use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// Runs the command.
pub(crate) fn verify(args: &VerifyArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let started = Instant::now();
    // What is wrong with the command line is told before anything is fetched or computed.
    let isa = session::isa(&args.isa)?;
    let given = args.ids.is_some() || args.prompt.is_some() || args.file.is_some();
    let read = || prompt::read(args.ids.as_deref(), args.prompt.as_deref(), args.file.as_deref());
    let prompt = given.then(read).transpose()?;
    let open = |path: &Path| TraceFile::open(path).at(path);
    let trace = args.trace.as_deref().map(open).transpose()?;
    let noise = args.noise.as_deref().map(open).transpose()?;
    let path = model::resolve(&args.model)?;
    let target = args.output.as_deref().map(|output| target(output, args, &path)).transpose()?;

    let n_threads = session::n_threads(args.threads);
    let cancel = Cancel::new(interrupt);
    let setup = Setup { args, path: &path, prompt, trace, noise, n_threads, isa, cancel: &cancel };
    let mut certificate = empty(args, &path, n_threads, isa);
    let mut ladder = Ladder::new(&path, !args.json);
    climb(&setup, &mut ladder, &mut certificate);
    let (rungs, exit, told) = ladder.finish();
    certificate.conclude(rungs, exit);
    if let Some(target) = target {
        write(target, &certificate)?;
    }
    let told = told.and_then(|()| tell(args, &certificate, started.elapsed()));
    match told {
        // Nobody reads any more; the status still says how it ended.
        Err(error) if error.exit == Exit::Ok => Ok(exit),
        Err(error) => Err(error),
        Ok(()) => Ok(exit),
    }
}

/// The file to write, which must be none of those to read.
fn target(output: &Path, args: &VerifyArgs, model: &Path) -> Result<NewFile, CliError> {
    let read = [Some(model), args.trace.as_deref(), args.noise.as_deref(), args.file.as_deref()];
    let same = |path: &&Path| match (fs::canonicalize(path), fs::canonicalize(output)) {
        (Ok(path), Ok(output)) => path == output,
        _ => false,
    };
    if read.iter().flatten().any(same) {
        return Err(CliError::usage("--output is a file that is to be read").at(output));
    }
    NewFile::create(output)
}

fn empty(args: &VerifyArgs, path: &Path, threads: usize, isa: Isa) -> Certificate {
    let shown = |path: Option<&Path>| path.map(|path| path.display().to_string());
    Certificate {
        format: "lockstep-certificate",
        version: 1,
        passed: false,
        exit: 0,
        verdict: String::new(),
        lockstep: env!("CARGO_PKG_VERSION"),
        machine: Machine {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            instruction_sets: Isa::available().map(Isa::name).collect(),
        },
        flags: Flags {
            n_tokens: args.n_tokens(),
            n_steps: args.n_steps(),
            quick: args.quick,
            threads,
            isa: isa.name(),
            trace: shown(args.trace.as_deref()),
            noise: shown(args.noise.as_deref()),
        },
        file: File { path: path.display().to_string(), sha256: None, header: None },
        rungs: Vec::new(),
        tokens: None,
        template: None,
        weights: None,
        prompt: None,
        arithmetics: Vec::new(),
        comparisons: Vec::new(),
        logits: None,
        invariance: Vec::new(),
    }
}

fn write(mut target: NewFile, certificate: &Certificate) -> Result<(), CliError> {
    let path = target.target().to_owned();
    let mut json = serde_json::to_vec(certificate)
        .map_err(|e| CliError::new("E-WRITE", Exit::Io, e.to_string()).at(&path))?;
    json.push(b'\n');
    target.write_all(&json).map_err(|e| {
        CliError::new("E-WRITE", Exit::Io, format!("cannot be written: {e}")).at(&path)
    })?;
    target.persist()
}

fn tell(args: &VerifyArgs, certificate: &Certificate, time: Duration) -> Result<(), CliError> {
    if args.json {
        return output::print_json(certificate);
    }
    let tables = if args.full { tables::tables(certificate) } else { String::new() };
    let verdict = crate::errors::one_line(&certificate.verdict);
    output::print(&format!("{tables}\n{verdict} ({:.1} s)\n", time.as_secs_f64()))
}
