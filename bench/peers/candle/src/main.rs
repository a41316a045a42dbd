//! Tokens per second of candle on a quantized `llama` GGUF, as one JSON object.
//!
//! `candle-peer MODEL [--pp N] [--tg N] [--reps N]`; RAYON_NUM_THREADS says how many threads.
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Options {
    model: String,
    pp: usize,
    tg: usize,
    reps: usize,
}

fn options() -> Outcome<Options> {
    let mut options = Options { model: String::new(), pp: 512, tg: 64, reps: 3 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let target = match arg.as_str() {
            "--pp" => &mut options.pp,
            "--tg" => &mut options.tg,
            "--reps" => &mut options.reps,
            _ => {
                options.model = arg;
                continue;
            }
        };
        *target = args.next().ok_or("a flag has no value")?.parse()?;
    }
    if options.model.is_empty() { Err("no model given".into()) } else { Ok(options) }
}

/// The model anew: its cache has no other way to be emptied.
fn load(path: &str) -> Outcome<ModelWeights> {
    let mut file = BufReader::new(File::open(path)?);
    let content = gguf_file::Content::read(&mut file)?;
    Ok(ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?)
}

fn forward(model: &mut ModelWeights, ids: &[u32], pos: usize) -> Outcome<()> {
    let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
    model.forward(&input, pos)?.to_device(&Device::Cpu)?;
    Ok(())
}

fn main() -> Outcome<()> {
    let o = options()?;
    let ids: Vec<u32> = (0..o.pp as u32).map(|i| 3 + i * 7919 % 200).collect();
    let (mut pp, mut tg) = (Vec::new(), Vec::new());
    // The first repetition warms up.
    for rep in 0..=o.reps {
        let mut model = load(&o.model)?;
        let started = Instant::now();
        forward(&mut model, &ids, 0)?;
        let prompt = started.elapsed().as_secs_f64();
        // Generation from an empty cache, as the others measure it: position 0 starts it anew.
        forward(&mut model, &ids[..1], 0)?;
        let started = Instant::now();
        for i in 0..o.tg {
            forward(&mut model, &ids[i % o.pp..][..1], 1 + i)?;
        }
        if rep > 0 {
            pp.push(o.pp as f64 / prompt);
            tg.push(o.tg as f64 / started.elapsed().as_secs_f64());
        }
    }
    println!("{{\"pp\": {pp:?}, \"tg\": {tg:?}}}");
    Ok(())
}
