//! `lockstep quantize`: a model with other tensor types.
use crate::{
    args::QuantizeArgs,
    errors::{CliError, Exit},
    human,
    interrupt::Interrupt,
    model, output,
    progress::Progress,
};
use llama_model::quantize::{FileType, QuantizeError, QuantizeOptions, quantize_path};
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Runs the command.
pub(crate) fn quantize(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    let file_type = FileType::from_name(&args.ty).ok_or_else(|| {
        let names: Vec<_> = FileType::ALL.iter().map(|ty| ty.name()).collect();
        CliError::usage(format!("TYPE is {}; must be one of {}", args.ty, names.join(", ")))
    })?;
    let src = model::resolve(&args.src)?;
    let cancel = Arc::new(AtomicBool::new(false));
    interrupt.set_on_first(Arc::clone(&cancel));
    let mut bar = Progress::bytes("quantizing");
    let options = QuantizeOptions::new().allow_requantize(args.allow_requantize);
    let report = quantize_path(&src, &args.dst, file_type, &options, &mut |step| {
        bar.set(step.bytes_done, Some(step.bytes_total));
        if cancel.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(bar);
    let report = match report {
        Ok(report) => report,
        Err(QuantizeError::Cancelled) => return Ok(Exit::Interrupted),
        Err(e) => return Err(explain(&src, &args.dst, e)),
    };
    let fallback = match report.n_fallback {
        0 => String::new(),
        n => format!(", {n} of them in a fallback type: their rows are no multiple of 256"),
    };
    output::eprint_line(&format!(
        "{}: {} tensors, {} converted{fallback}; {} -> {}",
        file_type.name(),
        report.n_tensors,
        report.n_converted,
        human::bytes(report.bytes_from),
        human::bytes(report.bytes_to),
    ));
    Ok(Exit::Ok)
}

/// Most errors are about the source; those of writing about the target.
fn explain(src: &Path, dst: &Path, error: QuantizeError) -> CliError {
    let hint = match error {
        QuantizeError::Requantize { .. } => "; add --allow-requantize if the loss is acceptable",
        _ => "",
    };
    let exit = Exit::from(error.class());
    let path = if exit == Exit::Io { dst } else { src };
    CliError::from(error).with_hint(hint).at(path)
}
