//! The whole engine in one program: load, tokenize, stream, stop, and cancel from another thread.
//!
//! `cargo run --release --example generate -- model.gguf "The capital of France is"`
use gguf_parse::Gguf;
use llama_model::{BatchToken, Context, ContextOptions, LoadOptions, Model, ModelError};
use sampler::{Params, Sampler};
use std::sync::{Arc, atomic::Ordering};
use std::{error::Error, io::Write, path::Path, thread, time::Duration};
use tokenizer::{Special, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (path, prompt) = (args.next().ok_or("which model?")?, args.next().ok_or("which prompt?")?);
    let gguf = Arc::new(Gguf::open(Path::new(&path))?);
    let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
    let model = Arc::new(Model::load(gguf, &LoadOptions::default(), &mut |_| ())?);
    let mut sampler = Sampler::new(Params { temp: 0.0, ..Params::default() }, tokenizer.n_vocab())?;
    let mut context = Context::new(model, &ContextOptions::default())?;

    let cancel = context.cancel_flag(); // any thread may set it: here, after ten seconds
    thread::spawn(move || {
        (thread::sleep(Duration::from_secs(10)), cancel.store(true, Ordering::Relaxed))
    });
    let mut batch = BatchToken::prompt(0, 0, &tokenizer.encode(&prompt, true, Special::Parse));
    let (mut decoder, mut out) = (tokenizer.decoder(), std::io::stdout().lock());
    for _ in 0..64 {
        let id = match context.decode(&batch) {
            Ok(logits) => sampler.sample(logits)?,
            Err(ModelError::Cancelled) => break,
            Err(error) => return Err(error.into()),
        };
        if tokenizer.is_eog(id) {
            break;
        }
        out.write_all(decoder.push(id).as_bytes())?;
        out.flush()?;
        batch = BatchToken::prompt(0, context.len(0), &[id]);
    }
    Ok(writeln!(out, "{}", decoder.finish())?)
}
