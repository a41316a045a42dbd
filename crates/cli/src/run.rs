//! `lockstep run`: a prompt in, text out.
pub(crate) mod prompt;
mod report;

use crate::{
    args::RunArgs,
    errors::{At, CliError, Exit},
    generate::{End, Engine, Request, Text, Timings},
    interrupt::Interrupt,
    model, output, sampling, session,
    template::{ChatTemplate, NO_TEMPLATE},
};
use chat_template::Conversation;
use prompt::Prompt;
use std::{sync::Arc, time::Instant};

/// Runs the command.
pub(crate) fn run(args: &RunArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    // What is wrong with the command line is told before a model is fetched or loaded.
    sampling::check(&args.sampling)?;
    session::isa(&args.engine.isa)?;
    let prompt = prompt::read(args.ids.as_deref(), args.prompt.as_deref(), args.file.as_deref())?;

    let path = model::resolve(&args.model)?;
    let started = Instant::now();
    let wanted = (!args.raw && args.ids.is_none()).then_some(&args.template);
    let session::Session { mut engine, template, .. } =
        session::open(&path, &args.engine, &args.sampling, wanted)?;
    let mut timings = Timings { load: started.elapsed(), ..Timings::default() };
    let prompt_ids = prompt_ids(args, &prompt, &engine, template.as_ref()).at(&path)?;
    prompt_ids.iter().for_each(|id| engine.sampler.accept(*id));
    interrupt.set_on_first(engine.context.cancel_flag());
    let request = Request {
        n_predict: args.engine.n_predict.0,
        kv_cache: !args.no_kv_cache,
        n_logits: if args.json { args.logits } else { 0 },
    };
    let tokenizer = Arc::clone(&engine.tokenizer);
    let mut text = Text::new(&tokenizer, &args.engine.stop);
    let mut emit = |piece: &str| if args.json { Ok(()) } else { output::print(piece) };
    let generation =
        engine.run(&request, &prompt_ids, &mut timings, &mut text, &mut emit).at(&path)?;
    let text = text.finish(&mut emit)?;
    if args.json {
        let seed = engine.sampler.seed();
        output::print_json(&report::Report::new(&prompt_ids, &generation, &text, seed, &timings))?;
    } else {
        output::print("\n")?;
        output::eprint_line(&timings.line());
    }
    Ok(if generation.end == End::Interrupted { Exit::Interrupted } else { Exit::Ok })
}

/// The prompt's ids: what the user says in a conversation if there is a template, else a text to continue.
fn prompt_ids(
    args: &RunArgs,
    prompt: &Prompt,
    engine: &Engine,
    template: Option<&ChatTemplate>,
) -> Result<Vec<u32>, CliError> {
    let (Prompt::Text(text), Some(template)) = (prompt, template) else {
        if args.system.is_some() {
            return Err(CliError::usage(format!("--system needs a chat template: {NO_TEMPLATE}")));
        }
        return prompt.ids(&engine.tokenizer);
    };
    let mut conversation = Conversation::default();
    if let Some(system) = &args.system {
        conversation.push("system", system);
    }
    conversation.push("user", text);
    let rendered = template.render(&conversation)?;
    Ok(engine.tokenizer.encode_chat(&rendered.text, true, &rendered.input))
}
