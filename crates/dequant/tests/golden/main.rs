//! The formats against ggml (golden/snapshots/{dequant,quantize,activations}) and against themselves.
#[cfg(test)]
mod dequantize;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quantize;
