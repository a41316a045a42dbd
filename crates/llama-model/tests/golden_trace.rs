//! `Reference` against llama.cpp's scalar build: every traced tensor, the cache and the logits, bit for bit.

mod common;

use common::check_traces;
use model_store::Store;

#[test]
fn smollm2_q4_1() {
    let path = Store::open().unwrap().resolve("smollm2", &mut |_, _| ()).unwrap();
    let n = check_traces("smollm2-q4_1", &path);
    println!("smollm2 Q4_1: {n} tensors bit-identical");
}
