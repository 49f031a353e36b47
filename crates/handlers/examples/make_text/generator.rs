//! Text without end that reads almost like the book it is made from: each word is followed by one that follows it
//! in the book, so frequencies are natural, and now and then a new word is coined, so that the vocabulary grows
//! with the text as it does in a library.

use std::collections::HashMap;

const BOOK: &str = include_str!("../../../../testdata/books/opticks.txt");
const FOREIGN: [&str; 6] = [
    include_str!("../../../../testdata/texts/greek.txt"),
    include_str!("../../../../testdata/texts/chinese.txt"),
    include_str!("../../../../testdata/texts/arabic.txt"),
    include_str!("../../../../testdata/texts/hindi.txt"),
    include_str!("../../../../testdata/texts/emoji.txt"),
    include_str!("../../../../testdata/texts/mixed.txt"),
];

/// One word in so many is coined. A text of 256 MiB gets some 200,000 different words.
const COINED_ONE_IN: u64 = 200;
/// Where lines are broken, in bytes.
const WIDTH: usize = 72;

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Newton's English, ASCII but for a few letters.
    English,
    /// Every second paragraph in another script.
    Multilingual,
}

/// Makes paragraphs.
pub(crate) struct Generator {
    sources: Vec<Source>,
    random: Random,
    /// How many paragraphs there have been.
    paragraphs: usize,
}

/// A text as a chain of words.
struct Source {
    words: Vec<&'static str>,
    /// For each place, which word stands there.
    numbers: Vec<usize>,
    /// For each word, the places where it stands.
    places: Vec<Vec<usize>>,
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>: short, and the same everywhere for ever.
struct Random(u64);

impl Generator {
    /// The same seed makes the same text.
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let mut sources = vec![Source::new(BOOK)];
        if kind == Kind::Multilingual {
            sources.extend(FOREIGN.map(Source::new));
        }
        Self { sources, random: Random(seed), paragraphs: 0 }
    }

    /// So many bytes of text, paragraph by paragraph.
    pub(crate) fn take_bytes(self, bytes: u64) -> impl Iterator<Item = String> {
        let mut left = bytes;
        self.map_while(move |mut paragraph| {
            if left == 0 {
                return None;
            }
            let fits = usize::try_from(left).unwrap_or(usize::MAX);
            if fits < paragraph.len() {
                paragraph.truncate(paragraph.floor_char_boundary(fits));
                // A character that does not fit is made up for by spaces.
                paragraph.extend(std::iter::repeat_n(' ', fits - paragraph.len()));
            }
            left -= paragraph.len() as u64;
            Some(paragraph)
        })
    }
}

impl Iterator for Generator {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let Self { sources, random, paragraphs } = self;
        let source = match &sources[..] {
            [_, foreign @ ..] if *paragraphs % 2 == 1 && !foreign.is_empty() => &foreign[random.below(foreign.len())],
            _ => &sources[0],
        };
        *paragraphs += 1;
        let mut paragraph = String::new();
        let mut line = 0;
        let mut place = random.below(source.numbers.len());
        for _ in 0..20 + random.below(180) {
            let start = paragraph.len();
            paragraph.push_str(source.words[source.numbers[place]]);
            if random.next().is_multiple_of(COINED_ONE_IN) {
                paragraph.truncate(start);
                source.coin(random, &mut paragraph);
            }
            line += paragraph.len() - start + 1;
            paragraph.push(if line < WIDTH { ' ' } else { '\n' });
            line = if line < WIDTH { line } else { 0 };
            let same = &source.places[source.numbers[place]];
            place = (same[random.below(same.len())] + 1) % source.numbers.len();
        }
        paragraph.push_str("\n\n");
        Some(paragraph)
    }
}

impl Source {
    fn new(text: &'static str) -> Self {
        let mut source = Self { words: Vec::new(), numbers: Vec::new(), places: Vec::new() };
        let mut known = HashMap::new();
        for (place, word) in text.split_whitespace().enumerate() {
            let number = *known.entry(word).or_insert_with(|| {
                source.words.push(word);
                source.places.push(Vec::new());
                source.words.len() - 1
            });
            source.numbers.push(number);
            source.places[number].push(place);
        }
        source
    }

    /// The first half of one word and the second half of another.
    fn coin(&self, random: &mut Random, onto: &mut String) {
        let first = self.words[random.below(self.words.len())];
        let second = self.words[random.below(self.words.len())];
        onto.push_str(&first[..first.ceil_char_boundary(first.len() / 2)]);
        onto.push_str(&second[second.floor_char_boundary(second.len() / 2)..]);
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is small.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
