//! `lockstep synth`: a model of random weights, where only the shape matters.
use crate::{
    args::SynthArgs,
    errors::{At, CliError, Exit},
    human,
    interrupt::Interrupt,
    output,
    progress::Progress,
};
use llama_model::{
    ModelError,
    synth::{Shape, SynthFileType, SynthModel, SynthOptions},
};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Runs the command.
pub(crate) fn synth(args: &SynthArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let file_type = SynthFileType::from_name(&args.ty).ok_or_else(|| {
        let names: Vec<_> = SynthFileType::all().map(SynthFileType::name).collect();
        CliError::usage(format!("--type is {}; must be one of {}", args.ty, names.join(", ")))
    })?;
    let options = SynthOptions::named(&args.shape, file_type.tensor_type()).ok_or_else(|| {
        let names = Shape::NAMES.join(", ");
        CliError::usage(format!("--shape is {}; must be one of {names}", args.shape))
    })?;
    let mut model = SynthModel::new(SynthOptions { seed: args.seed, ..options })?;
    model.set_file_type(file_type)?;

    let cancel = Arc::new(AtomicBool::new(false));
    interrupt.set_on_first(Arc::clone(&cancel));
    let mut bar = Progress::fraction("writing");
    let written = model.write(&args.output, |done| {
        bar.set_fraction(done);
        if cancel.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(bar);
    match written {
        Err(ModelError::Cancelled) => return Ok(Exit::Interrupted),
        outcome => outcome.at(&args.output)?,
    }
    output::eprint_line(&format!(
        "{} {}: {} tensors, {}",
        args.shape,
        file_type.name(),
        model.tensors().len(),
        human::bytes(model.n_bytes().unwrap_or_default()),
    ));
    Ok(Exit::Ok)
}
