//! `word_count`: counts the words of a text.
//!
//! The text comes in chunks ([`blocks`]), is counted by as many threads as there are to use ([`pipeline`]), and
//! is added up in its own order ([`totals`]), so that the result is the same however it was torn. What a word is
//! has two answers: for `words` what stands between white space ([`counts`]), for the vocabulary the words of
//! UAX #29 ([`segments`], [`seam`], [`vocabulary`]).

mod blocks;
mod counts;
mod pipeline;
mod seam;
mod segments;
#[cfg(test)]
mod tests;
mod totals;
mod vocabulary;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::totals::Totals;
use crate::{Class, Context, HandlerError, JobHandler, Text};

/// Counts the words, lines, characters and bytes of a text, and finds its commonest words.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordCount;

/// Longer words are left out of the vocabulary: they are no words but data. Bytes.
const LONGEST_WORD: usize = 1024;
/// How many of the commonest words can be asked for.
const MOST_TOP: u16 = 1000;

/// What `word_count` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The text, unless it is sent as the request's body.
    text: Option<String>,
    /// How many of the commonest words to give. With 0 there is no vocabulary, and counting is much faster.
    #[serde(default = "usual_top")]
    #[schemars(range(max = 1000))]
    top: u16,
}

/// What `word_count` gives. The text counts as it was sent: a byte order mark is a character, CRLF stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// Maximal runs of characters that are not Unicode white space.
    words: u64,
    /// How often U+000A occurs.
    lines: u64,
    /// Unicode scalar values.
    characters: u64,
    /// Bytes of UTF-8.
    bytes: u64,
    /// How many different words there are, where words are those of UAX #29 in lower case; null without a
    /// vocabulary.
    unique_words: Option<u64>,
    /// The commonest of these words first; equally common ones by their spelling.
    top_words: Vec<TopWord>,
    /// Whether words were left out of the vocabulary: those of more than 1,024 bytes, and those that first came
    /// when it was full. What is in it has been counted to the end of the text.
    vocabulary_truncated: bool,
}

/// A word, and how often it occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct TopWord {
    /// The word, in lower case.
    word: String,
    /// How often it occurs.
    count: u64,
}

impl JobHandler for WordCount {
    const NAME: &'static str = "word_count";
    const DESCRIPTION: &'static str =
        "Counts the words, lines, characters and bytes of a text, and finds its commonest words.";
    const CLASS: Class = Class::Cpu;
    const ACCEPTS_TEXT: bool = true;

    type Input = Input;
    type Output = Output;

    async fn run(&self, input: Input, context: Context) -> Result<Output, HandlerError> {
        if input.top > MOST_TOP {
            return Err(refused(format_args!("`top` must be at most {MOST_TOP}")));
        }
        let text = match (input.text, context.text()) {
            (Some(text), None) => Text::from(text),
            (None, Some(text)) => text,
            (None, None) => return Err(refused("`text` is missing: send it in the payload or as the body")),
            (Some(_), Some(_)) => return Err(refused("`text` came twice: send it in the payload or as the body")),
        };
        let totals = if input.top == 0 { Totals::without_vocabulary() } else { Totals::with_vocabulary() };
        let totals = pipeline::add_up(text, totals, &context).await?;
        Ok(Output::new(&totals, input.top.into()))
    }
}

impl Output {
    fn new(totals: &Totals, top: usize) -> Self {
        let Totals { counts, vocabulary, .. } = totals;
        let top_words = vocabulary.iter().flat_map(|vocabulary| vocabulary.top(top));
        Self {
            words: counts.words,
            lines: counts.lines,
            characters: counts.characters,
            bytes: counts.bytes,
            unique_words: vocabulary.as_ref().map(|vocabulary| vocabulary.len() as u64),
            top_words: top_words.map(|(word, count)| TopWord { word: word.to_owned(), count }).collect(),
            vocabulary_truncated: vocabulary.as_ref().is_some_and(vocabulary::Vocabulary::is_truncated),
        }
    }
}

fn refused(message: impl std::fmt::Display) -> HandlerError {
    HandlerError::fatal("invalid_payload", message)
}

fn usual_top() -> u16 {
    10
}
