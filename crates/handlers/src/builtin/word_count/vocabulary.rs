//! The different words of a text, and how often each occurs.

use std::{
    cmp::{Ordering, Reverse},
    hash::{BuildHasher as _, Hasher as _},
};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::LONGEST_WORD;

/// How many different words are kept.
const MOST_WORDS: usize = 1_000_000;
/// How long they may be together, in bytes. With what else is kept of each word, a full vocabulary takes some 64 MiB.
const MOST_LETTERS: usize = 32 * 1024 * 1024;

/// Words with their counts, in the order in which they first came.
///
/// It allocates nothing for a single word: the letters of all stand in one string, and the table holds numbers.
/// Its hash is seeded afresh in each process, so that nobody can write a text that makes it slow.
pub(super) struct Vocabulary {
    words: Vec<Word>,
    letters: String,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    lower_case: String,
    most_words: usize,
    most_letters: usize,
    truncated: bool,
}

#[derive(Clone, Copy)]
struct Word {
    count: u64,
    start: u32,
    length: u32,
}

impl Vocabulary {
    /// The vocabulary of a whole text: once it is full, it takes no new words.
    pub(super) fn bounded() -> Self {
        Self::with_bounds(MOST_WORDS, MOST_LETTERS)
    }

    /// The vocabulary of a block, which the size of the block bounds.
    pub(super) fn of_block() -> Self {
        Self::with_bounds(u32::MAX as usize, u32::MAX as usize)
    }

    fn with_bounds(most_words: usize, most_letters: usize) -> Self {
        Self {
            words: Vec::new(),
            letters: String::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            lower_case: String::new(),
            most_words,
            most_letters,
            truncated: false,
        }
    }

    /// How many different words there are.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether words were left out: they were too long, or came when there was no room for new ones.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Counts a word, in lower case.
    pub(super) fn see(&mut self, word: &str) {
        if word.len() > LONGEST_WORD {
            self.truncated = true;
        } else if !word.is_ascii() {
            self.add(&word.to_lowercase(), 1);
        } else if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let mut lower_case = std::mem::take(&mut self.lower_case);
            lower_case.clear();
            lower_case.push_str(word);
            lower_case.make_ascii_lowercase();
            self.add(&lower_case, 1);
            self.lower_case = lower_case;
        } else {
            self.add(word, 1);
        }
    }

    /// Takes over the words of a stretch of text that comes next, and empties that.
    pub(super) fn absorb(&mut self, next: &mut Self) {
        for word in &next.words {
            self.add(spelling(&next.letters, *word), word.count);
        }
        self.truncated |= next.truncated;
        next.words.clear();
        next.letters.clear();
        next.table.clear();
        next.truncated = false;
    }

    /// The commonest words, with their counts; equally common ones by their spelling.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let order = |a: &Word, b: &Word| -> Ordering {
            let by_count = Reverse(a.count).cmp(&Reverse(b.count));
            by_count.then_with(|| spelling(&self.letters, *a).cmp(spelling(&self.letters, *b)))
        };
        let mut words = self.words.clone();
        if most < words.len() {
            words.select_nth_unstable_by(most, order);
            words.truncate(most);
        }
        words.sort_unstable_by(order);
        words.into_iter().map(|word| (spelling(&self.letters, word), word.count)).collect()
    }

    fn add(&mut self, word: &str, count: u64) {
        let Self { words, letters, table, hasher, .. } = self;
        let hash = hash_of(hasher, word);
        if let Some(&number) = table.find(hash, |&number| spelling(letters, words[number as usize]) == word) {
            words[number as usize].count += count;
            return;
        }
        if words.len() >= self.most_words || letters.len() + word.len() > self.most_letters {
            // Shut for good, so that which words get in does not depend on their length.
            (self.most_words, self.truncated) = (0, true);
            return;
        }
        // The bounds keep all three numbers below `u32::MAX`.
        table.insert_unique(hash, words.len() as u32, |&number| {
            hash_of(hasher, spelling(letters, words[number as usize]))
        });
        words.push(Word { count, start: letters.len() as u32, length: word.len() as u32 });
        letters.push_str(word);
    }
}

fn spelling(letters: &str, word: Word) -> &str {
    &letters[word.start as usize..][..word.length as usize]
}

fn hash_of(hasher: &DefaultHashBuilder, word: &str) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(word.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn filled(mut vocabulary: Vocabulary, words: &[&str]) -> Vocabulary {
        words.iter().for_each(|word| vocabulary.see(word));
        vocabulary
    }

    #[test]
    fn case_does_not_matter_and_ties_go_by_spelling() {
        let vocabulary = filled(Vocabulary::bounded(), &["b", "A", "ΟΔΟΣ", "a", "B", "οδος", "c", "Ä"]);
        assert_eq!(vocabulary.top(4), [("a", 2), ("b", 2), ("οδος", 2), ("c", 1)]);
        assert_eq!(vocabulary.top(0), []);
        assert_eq!((vocabulary.top(99).len(), vocabulary.len(), vocabulary.is_truncated()), (5, 5, false));
    }

    #[test]
    fn a_full_vocabulary_goes_on_counting_what_it_knows() {
        for bounds in [(2, 99), (99, 4)] {
            let full = filled(Vocabulary::with_bounds(bounds.0, bounds.1), &["one", "b", "three", "one", "c", "one"]);
            assert_eq!(full.top(9), [("one", 3), ("b", 1)], "{bounds:?}");
            assert!(full.is_truncated());
        }
    }

    #[test]
    fn a_very_long_word_is_left_out() {
        let (fits, long) = ("a".repeat(LONGEST_WORD), "b".repeat(LONGEST_WORD + 1));
        let vocabulary = filled(Vocabulary::bounded(), &[&fits, &long]);
        assert_eq!((vocabulary.top(9), vocabulary.is_truncated()), (vec![(fits.as_str(), 1)], true));
    }

    proptest! {
        #[test]
        fn blocks_add_up_as_one_text_would(blocks in prop::collection::vec(prop::collection::vec("[a-cÄß]{1,2}", 0..30), 0..6), most in 1_usize..20) {
            let mut sum = Vocabulary::with_bounds(most, 1000);
            let mut block = Vocabulary::of_block();
            for words in &blocks {
                words.iter().for_each(|word| block.see(word));
                sum.absorb(&mut block);
            }
            // The words that came first are kept, and counted to the end.
            let mut order = Vec::new();
            let mut counts = BTreeMap::new();
            for word in blocks.concat() {
                let word = word.to_lowercase();
                *counts.entry(word.clone()).or_insert(0_u64) += 1;
                if !order.contains(&word) {
                    order.push(word);
                }
            }
            prop_assert_eq!(sum.is_truncated(), order.len() > most);
            order.truncate(most);
            order.sort_by_key(|word| (Reverse(counts[word]), word.clone()));
            let expected: Vec<_> = order.iter().map(|word| (word.as_str(), counts[word])).collect();
            prop_assert_eq!(sum.top(most), expected);
        }
    }
}
