//! The words of a text as UAX #29 sees them: the word segments that have a letter or a digit in them.
//!
//! `unicode-segmentation` is the authority. ASCII takes a faster way that agrees with it.

use unicode_segmentation::UnicodeSegmentation as _;

const LETTER: u8 = 1;
const DIGIT: u8 = 1 << 1;
const EXTENDS: u8 = 1 << 2;
const MID_LETTER: u8 = 1 << 3;
const MID_NUMBER: u8 = 1 << 4;
const ENDS_LINE: u8 = 1 << 5;
const BEYOND_ASCII: u8 = 1 << 6;
/// What a word is made of.
const CORE: u8 = LETTER | DIGIT | EXTENDS;

/// The `Word_Break` property of ASCII, with `MidNumLet` and `Single_Quote` as both `MidLetter` and `MidNum`.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'_' => EXTENDS,
            b':' => MID_LETTER,
            b',' | b';' => MID_NUMBER,
            b'.' | b'\'' => MID_LETTER | MID_NUMBER,
            b'\n' | b'\r' | 0x0B | 0x0C => ENDS_LINE,
            0x80.. => BEYOND_ASCII,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Whether a word segment is a word.
pub(super) fn is_word(segment: &str) -> bool {
    segment.chars().any(char::is_alphanumeric)
}

/// Shows every word of a text that begins and ends at a word boundary.
pub(super) fn for_each_word(text: &str, mut see: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    // Always a word boundary. What is left of one has no bearing on what is right of it.
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let class = class(byte);
        if class & CORE != 0 {
            if let Some((end, seen)) = ascii_word(bytes, at) {
                if seen & (LETTER | DIGIT) != 0 {
                    see(&text[at..end]);
                }
                at = end;
                continue;
            }
        } else if class & BEYOND_ASCII == 0 {
            let run = if byte == b' ' { bytes[at..].iter().take_while(|&&next| next == b' ').count() } else { 1 };
            // A combining mark belongs to what is before it, unless that ends a line.
            if class & ENDS_LINE != 0 || bytes.get(at + run).is_none_or(u8::is_ascii) {
                at += run;
                continue;
            }
        }
        for segment in text[at..].split_word_bounds() {
            if is_word(segment) {
                see(segment);
            }
            at += segment.len();
            if bytes.get(at).is_none_or(u8::is_ascii) {
                break;
            }
        }
    }
}

/// Where the segment ends that begins at `start` with a letter, a digit or `_`, and the classes in it; `None` if
/// that depends on a character beyond ASCII.
fn ascii_word(bytes: &[u8], start: usize) -> Option<(usize, u8)> {
    let mut seen = 0;
    let mut at = start;
    loop {
        let mut here = 0;
        for &byte in &bytes[at..] {
            here = class(byte);
            if here & CORE == 0 {
                break;
            }
            seen |= here;
            at += 1;
        }
        // At the end of the text `here` is a part of the word, and joins nothing.
        if here & BEYOND_ASCII != 0 {
            return None;
        }
        if here & (MID_LETTER | MID_NUMBER) == 0 {
            return Some((at, seen));
        }
        let before = class(bytes[at - 1]);
        let after = bytes.get(at + 1).map_or(0, |&byte| class(byte));
        if after & BEYOND_ASCII != 0 {
            return None;
        }
        let letters = here & MID_LETTER != 0 && before & after & LETTER != 0;
        let digits = here & MID_NUMBER != 0 && before & after & DIGIT != 0;
        if !letters && !digits {
            return Some((at, seen));
        }
        at += 1;
    }
}

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(text, |word| words.push(word.to_owned()));
        words
    }

    fn reference(text: &str) -> Vec<String> {
        text.unicode_words().map(str::to_owned).collect()
    }

    #[test]
    fn words_are_those_of_uax_29() {
        assert_eq!(
            words(
                "The quick (\u{201C}brown\u{201D}) fox can\u{2019}t jump 32.3 feet, right? e.g. 1,000;5 a_b __ x:y 3:4 o'k don'"
            ),
            [
                "The",
                "quick",
                "brown",
                "fox",
                "can\u{2019}t",
                "jump",
                "32.3",
                "feet",
                "right",
                "e.g",
                "1,000;5",
                "a_b",
                "x:y",
                "3",
                "4",
                "o'k",
                "don"
            ]
        );
        assert_eq!(
            words("naïve, co\u{308}operate -\u{93e}  \u{93e} a.é"),
            reference("naïve, co\u{308}operate -\u{93e}  \u{93e} a.é")
        );
    }

    #[test]
    fn all_short_ascii_texts_agree() {
        let alphabet = *b"aZ7_.:,;' \r\n\t-";
        for length in 0..=5 {
            for mut number in 0..alphabet.len().pow(length) {
                let text: String = (0..length)
                    .map(|_| {
                        let byte = alphabet[number % alphabet.len()];
                        number /= alphabet.len();
                        char::from(byte)
                    })
                    .collect();
                assert_eq!(words(&text), reference(&text), "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn ascii_agrees(text in "[a-cA-C0-2_.:,;'\" \t\r\n\\-]{0,80}") {
            prop_assert_eq!(words(&text), reference(&text));
        }

        #[test]
        fn mixed_text_agrees(text in super::super::tests::tricky(0..60)) {
            prop_assert_eq!(words(&text), reference(&text));
        }

        #[test]
        fn any_text_agrees(text in any::<String>()) {
            prop_assert_eq!(words(&text), reference(&text));
        }
    }
}
