//! Where the blocks of a text meet: the words there belong to no block alone.

use unicode_segmentation::UnicodeSegmentation as _;

use super::{LONGEST_WORD, segments};

/// How much text without a safe place may wait before it is looked at piece by piece. Bytes.
const MOST_WAITING: usize = 64 * 1024;

/// Text since the last safe place. A safe place is a word boundary that can be told from the characters on either
/// side of it, whatever the rest of the text is.
pub(super) struct Seam {
    waiting: String,
    most: usize,
}

/// The first and the last safe place in a block, if it has any.
pub(super) fn safe_places(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let first = (1..=bytes.len()).find(|&at| is_safe(bytes, at))?;
    let last = (first..=bytes.len()).rfind(|&at| is_safe(bytes, at))?;
    Some((first, last))
}

/// WB3a: after a line feed there is always a boundary. WB999: so there is between a space and visible ASCII, and
/// between two of the ideographs that every Chinese text is full of; no rule reaches across either.
fn is_safe(bytes: &[u8], at: usize) -> bool {
    let (before, after) = bytes.split_at(at);
    match before {
        [.., b'\n'] => true,
        [.., b' '] => after.first().is_some_and(u8::is_ascii_graphic),
        [.., a, b, c] => is_ideograph(&[*a, *b, *c]) && after.first_chunk().is_some_and(is_ideograph),
        _ => false,
    }
}

/// Whether three bytes of UTF-8 are U+4E00 to U+9FFF.
fn is_ideograph(bytes: &[u8; 3]) -> bool {
    matches!(bytes, [0xE4, 0xB8..=0xBF, _] | [0xE5..=0xE9, 0x80..=0xBF, _])
}

impl Seam {
    pub(super) fn new() -> Self {
        Self { waiting: String::new(), most: MOST_WAITING }
    }

    /// Adds text, and shows the words that can be told already if much of it waits. However long the text goes
    /// on without a safe place, and however long a word in it is, the memory is bounded.
    pub(super) fn append(&mut self, text: &str, mut see: impl FnMut(&str)) {
        self.waiting.push_str(text);
        if self.waiting.len() > self.most {
            self.release(&mut see);
        }
    }

    /// Shows the words that are left: here is a safe place, or the end of the text.
    pub(super) fn close(&mut self, see: impl FnMut(&str)) {
        segments::for_each_word(&self.waiting, see);
        self.waiting.clear();
    }

    /// Shows all but the last two segments. Those may change with what follows: the last one may go on, and if it
    /// is a mark such as an apostrophe it may join the one before it to a letter to come.
    fn release(&mut self, see: &mut impl FnMut(&str)) {
        let (mut before, mut last) = ("", "");
        for segment in self.waiting.split_word_bounds() {
            if segments::is_word(before) {
                see(before);
            }
            (before, last) = (last, segment);
        }
        self.waiting = shortened(before) + &shortened(last);
    }
}

/// A segment that may go on, or if it is too long to be kept, another of bounded length, still too long for the
/// vocabulary, after which the text goes on to the same boundaries.
///
/// What matters for that (UAX #29) is the last character that is not `Extend`, `Format` or `ZWJ`; the very last
/// one, as a ZWJ joins emoji; and in a few cases what is before.
fn shortened(segment: &str) -> String {
    let Some(end) = segment.chars().next_back().filter(|_| segment.len() > LONGEST_WORD) else {
        return segment.to_owned();
    };
    let base_at = segment.char_indices().rev().find_map(|(at, character)| (!attaches(character)).then_some(at));
    let (before, rest) = segment.split_at(base_at.unwrap_or(0));
    let base = rest.chars().next().unwrap_or(end);
    let mut short = String::new();
    if before.ends_with(ZWJ) && is_one_segment(&format!("{ZWJ}{base}")) {
        // An emoji joined to one before, to which other rules apply than to one alone.
        short.push(ZWJ);
    } else if is_flag_half(base) || base == '\'' {
        // The second half of a flag is not a first one; an apostrophe in a word is after a Hebrew letter.
        short.extend(before.chars().rev().find(|&character| !attaches(character)));
    }
    short.push(base);
    let filler = match segments::is_word(segment) {
        // A run of spaces goes on as one segment only if nothing is attached to them.
        _ if end.is_whitespace() => end,
        // Whether it is a word must stay the same.
        true => '\u{93E}',
        false => '\u{308}',
    };
    while short.len() <= LONGEST_WORD {
        short.push(filler);
    }
    if attaches(end) {
        short.push(end);
    }
    short
}

const ZWJ: char = '\u{200D}';

/// Whether a character is `Extend`, `Format` or `ZWJ`, the only ones without a boundary between `!` and them.
fn attaches(character: char) -> bool {
    !character.is_ascii() && is_one_segment(&format!("!{character}"))
}

fn is_flag_half(character: char) -> bool {
    ('\u{1F1E6}'..='\u{1F1FF}').contains(&character)
}

fn is_one_segment(text: &str) -> bool {
    text.split_word_bounds().next() == Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::tricky, *};

    fn bounds(text: &str) -> Vec<usize> {
        text.split_word_bound_indices().map(|(at, _)| at).collect()
    }

    #[test]
    fn safe_places_are_found() {
        assert_eq!(safe_places("one two  three\nfour"), Some((4, 15)));
        assert_eq!(safe_places("one\n"), Some((4, 4)));
        assert_eq!(safe_places("道可道"), Some((3, 6)));
        for none in ["", "one", "one ", "one \u{301}", "道。", "道\u{301}", " ", "\r\n"[..1].into()] {
            assert_eq!(safe_places(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn at_a_safe_place_a_text_can_be_cut(text in tricky(0..40)) {
            let whole = bounds(&text);
            for at in (1..text.len()).filter(|&at| is_safe(text.as_bytes(), at)) {
                let mut cut = bounds(&text[..at]);
                cut.extend(bounds(&text[at..]).iter().map(|bound| bound + at));
                prop_assert_eq!(&cut, &whole, "{}", at);
            }
        }

        #[test]
        fn pieces_give_the_words_of_the_whole(pieces in prop::collection::vec(tricky(0..12), 0..20), most in 0_usize..40) {
            let mut seam = Seam { most, ..Seam::new() };
            let mut words = Vec::new();
            for piece in &pieces {
                seam.append(piece, |word| words.push(word.to_owned()));
            }
            seam.close(|word| words.push(word.to_owned()));
            let whole = pieces.concat();
            prop_assert_eq!(words, whole.unicode_words().collect::<Vec<_>>());
        }

        /// Stretches a text at some of its characters, and goes on after a segment that this made too long.
        #[test]
        fn a_shortened_segment_goes_on_as_the_long_one_does(start in tricky(0..4), stretched in tricky(1..4), end in tricky(0..4), more in tricky(0..8)) {
            let stretched = stretched.repeat(LONGEST_WORD + 1);
            let text = format!("{start}{stretched}{end}");
            let Some(long) = text.split_word_bounds().find(|segment| segment.len() > LONGEST_WORD) else {
                return Ok(());
            };
            let short = shortened(long);
            prop_assert!((LONGEST_WORD + 1..LONGEST_WORD + 16).contains(&short.len()), "{}", short.len());
            prop_assert_eq!(segments::is_word(&short), segments::is_word(long));
            let after = |start: &str| -> Vec<_> {
                bounds(&format!("{start}{more}")).into_iter().skip(1).map(|at| at - start.len()).collect()
            };
            prop_assert_eq!(after(&short), after(long));
        }
    }
}
