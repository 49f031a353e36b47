//! One block counted, and the sum of all of them in the order of the text.

use super::{
    blocks::Block,
    counts::Counts,
    seam::{Seam, safe_places},
    segments,
    vocabulary::Vocabulary,
};
use crate::HandlerError;

/// What there is to know of a block.
pub(super) struct Counted {
    counts: Counts,
    words: Option<Words>,
}

/// The words of a block, as far as they are its own.
enum Words {
    /// From the first safe place to the last.
    Whole { before: String, inside: Vocabulary, after: String },
    /// There is no safe place in the block: this is all of it. The vocabulary goes back unused.
    Open { text: String, unused: Vocabulary },
}

/// The sum of the blocks up to here.
pub(super) struct Totals {
    pub counts: Counts,
    /// `None` where nobody asked for it.
    pub vocabulary: Option<Vocabulary>,
    seam: Seam,
    /// Vocabularies of blocks, emptied, to be used again.
    spare: Vec<Vocabulary>,
}

impl Counted {
    /// Counts a block; its words too, if there is a vocabulary to put them into.
    ///
    /// # Errors
    /// `invalid_utf8`, with the offset in the text.
    pub(super) fn of(block: &Block, vocabulary: Option<Vocabulary>) -> Result<Self, HandlerError> {
        let text = simdutf8::compat::from_utf8(&block.bytes).map_err(|error| {
            let offset = block.offset + error.valid_up_to() as u64;
            HandlerError::fatal("invalid_utf8", format_args!("the text is not UTF-8 at byte {offset}"))
        })?;
        Ok(Self { counts: Counts::of(text), words: vocabulary.map(|empty| Words::of(text, empty)) })
    }
}

impl Words {
    fn of(text: &str, mut vocabulary: Vocabulary) -> Self {
        let Some((first, last)) = safe_places(text) else {
            return Self::Open { text: text.to_owned(), unused: vocabulary };
        };
        segments::for_each_word(&text[first..last], |word| vocabulary.see(word));
        Self::Whole { before: text[..first].to_owned(), inside: vocabulary, after: text[last..].to_owned() }
    }
}

impl Totals {
    pub(super) fn with_vocabulary() -> Self {
        Self { vocabulary: Some(Vocabulary::bounded()), ..Self::without_vocabulary() }
    }

    pub(super) fn without_vocabulary() -> Self {
        Self { counts: Counts::default(), vocabulary: None, seam: Seam::new(), spare: Vec::new() }
    }

    /// An empty vocabulary for the next block, if one is wanted.
    pub(super) fn spare_vocabulary(&mut self) -> Option<Vocabulary> {
        self.vocabulary.as_ref()?;
        Some(self.spare.pop().unwrap_or_else(Vocabulary::of_block))
    }

    /// Adds the block that comes next in the text.
    pub(super) fn append(&mut self, next: Counted) {
        self.counts.append(next.counts);
        let (Some(vocabulary), Some(words)) = (&mut self.vocabulary, next.words) else { return };
        match words {
            Words::Whole { before, mut inside, after } => {
                self.seam.append(&before, |word| vocabulary.see(word));
                self.seam.close(|word| vocabulary.see(word));
                vocabulary.absorb(&mut inside);
                self.seam.append(&after, |word| vocabulary.see(word));
                self.spare.push(inside);
            }
            Words::Open { text, unused } => {
                self.seam.append(&text, |word| vocabulary.see(word));
                self.spare.push(unused);
            }
        }
    }

    /// Adds what was still open at the end of the text.
    pub(super) fn close(&mut self) {
        if let Some(vocabulary) = &mut self.vocabulary {
            self.seam.close(|word| vocabulary.see(word));
        }
    }
}
