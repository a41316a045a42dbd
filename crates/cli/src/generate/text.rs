//! The text of a continuation as it grows.
use super::stop::StopStrings;
use crate::errors::CliError;
use tokenizer::{Decoder, Tokenizer};

/// Where the text goes, piece by piece.
pub(crate) type Emit<'e> = &'e mut dyn FnMut(&str) -> Result<(), CliError>;

/// Ids become text: whole characters, up to a stop string.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    decoder: Decoder<'a>,
    stops: StopStrings<'a>,
    all: String,
}

impl<'a> Text<'a> {
    /// A text that goes on from a prompt.
    pub(crate) fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        let (decoder, stops) = (tokenizer.continuing_decoder(), StopStrings::new(stops));
        Self { decoder, stops, all: String::new() }
    }

    /// Takes a token; says whether the text goes on behind it.
    pub(super) fn push(&mut self, id: u32, emit: Emit<'_>) -> Result<bool, CliError> {
        let piece = self.stops.push(self.decoder.push(id));
        self.all.push_str(piece);
        if !piece.is_empty() {
            emit(piece)?;
        }
        Ok(!self.stops.found())
    }

    /// The whole text, when there is no more to come.
    pub(crate) fn finish(mut self, emit: Emit<'_>) -> Result<String, CliError> {
        let mut rest = self.stops.push(self.decoder.finish()).to_owned();
        rest.push_str(self.stops.finish());
        if !rest.is_empty() {
            emit(&rest)?;
        }
        self.all.push_str(&rest);
        Ok(self.all)
    }
}
