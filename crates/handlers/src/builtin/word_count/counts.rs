//! Words, lines, characters and bytes: what can be counted of any stretch of a text, and added up in order.

/// The counts of a stretch of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Maximal runs of characters that are not Unicode `White_Space`.
    pub words: u64,
    /// How often U+000A occurs.
    pub lines: u64,
    /// Unicode scalar values.
    pub characters: u64,
    /// Bytes of UTF-8.
    pub bytes: u64,
    begins_in_word: bool,
    ends_in_word: bool,
}

/// How many bytes are looked at together while they are ASCII. Sums over so many fit into a byte, which is what
/// lets the compiler keep them in vector registers.
const TOGETHER: usize = 128;

impl Counts {
    /// Counts a stretch of text.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut counts = Self { bytes: bytes.len() as u64, ..Self::default() };
        let mut in_word = false;
        let mut at = 0;
        while at < bytes.len() {
            if let Some(block) = bytes[at..].first_chunk()
                && let Some((words, lines)) = count_ascii(block, in_word)
            {
                counts.words += u64::from(words);
                counts.lines += u64::from(lines);
                counts.characters += TOGETHER as u64;
                in_word = !is_space(block[TOGETHER - 1]);
                at += TOGETHER;
                continue;
            }
            let end = text.ceil_char_boundary(at + TOGETHER);
            for character in text[at..end].chars() {
                let was_in_word = in_word;
                in_word = !character.is_whitespace();
                counts.words += u64::from(in_word && !was_in_word);
                counts.lines += u64::from(character == '\n');
                counts.characters += 1;
            }
            at = end;
        }
        counts.begins_in_word = text.starts_with(|first: char| !first.is_whitespace());
        counts.ends_in_word = in_word;
        counts
    }

    /// Adds what comes next in the text. A word that goes on there is one word.
    pub(super) fn append(&mut self, next: Self) {
        if next.bytes == 0 {
            return;
        }
        self.begins_in_word = if self.bytes == 0 { next.begins_in_word } else { self.begins_in_word };
        self.words += next.words - u64::from(self.ends_in_word && next.begins_in_word);
        self.lines += next.lines;
        self.characters += next.characters;
        self.bytes += next.bytes;
        self.ends_in_word = next.ends_in_word;
    }
}

/// Whether an ASCII byte is Unicode `White_Space`. `u8::is_ascii_whitespace` leaves out U+000B.
fn is_space(byte: u8) -> bool {
    byte == b' ' || byte.wrapping_sub(b'\t') < 5
}

/// How many words begin and how many lines end in a block, if it is ASCII. There are no branches in the loops, so
/// they compile to vector instructions.
fn count_ascii(block: &[u8; TOGETHER], in_word: bool) -> Option<(u8, u8)> {
    let mut spaces = [0; TOGETHER + 1];
    spaces[0] = u8::from(!in_word);
    let (mut seen, mut lines) = (0, 0);
    for (space, &byte) in spaces[1..].iter_mut().zip(block) {
        *space = u8::from(is_space(byte));
        seen |= byte;
        lines += u8::from(byte == b'\n');
    }
    let words = spaces.iter().zip(&spaces[1..]).map(|(before, here)| before & !here).sum();
    seen.is_ascii().then_some((words, lines))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, in the plainest way.
    fn reference(text: &str) -> (u64, u64, u64, u64) {
        let lines = text.chars().filter(|&character| character == '\n').count();
        let words = text.split(char::is_whitespace).filter(|word| !word.is_empty()).count();
        (words as u64, lines as u64, text.chars().count() as u64, text.len() as u64)
    }

    fn plain(counts: Counts) -> (u64, u64, u64, u64) {
        (counts.words, counts.lines, counts.characters, counts.bytes)
    }

    #[test]
    fn every_character_is_space_or_not_as_unicode_says() {
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let text = format!("a{character}b");
            assert_eq!(plain(Counts::of(&text)), reference(&text), "{character:?}");
        }
    }

    #[test]
    fn every_ascii_byte_counts_the_same_in_a_block() {
        for byte in 0..128_u8 {
            for length in [TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER] {
                let text = format!("{}{}{}", "ab ".repeat(length), char::from(byte), "c\n".repeat(length));
                assert_eq!(plain(Counts::of(&text)), reference(&text), "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plainest_way(text in "([a-c \t\n]{0,300}|\\PC{0,20}|[\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}語]{0,9}){0,9}") {
            prop_assert_eq!(plain(Counts::of(&text)), reference(&text));
        }

        #[test]
        fn parts_add_up_to_the_whole(parts in prop::collection::vec("[a-c \n\u{3000}é]{0,6}", 0..20)) {
            let mut sum = Counts::default();
            parts.iter().for_each(|part| sum.append(Counts::of(part)));
            prop_assert_eq!(sum, Counts::of(&parts.concat()));
        }
    }
}
