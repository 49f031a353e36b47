//! The generator of large texts: as long as asked for, the same for the same seed, with a vocabulary that grows.

#[path = "../examples/make_text/generator.rs"]
mod generator;

use std::collections::HashSet;

use generator::{Generator, Kind};

fn text(kind: Kind, seed: u64, bytes: u64) -> String {
    Generator::new(kind, seed).take_bytes(bytes).collect()
}

#[test]
fn a_text_is_as_long_as_asked_for() {
    for kind in [Kind::English, Kind::Multilingual] {
        // Some of these end within a character.
        for bytes in [0, 1, 1_000, 7_001, 7_002, 7_003, 7_004, 200_000] {
            assert_eq!(text(kind, 1, bytes).len() as u64, bytes);
        }
    }
}

#[test]
fn the_seed_decides_all() {
    assert_eq!(text(Kind::Multilingual, 7, 50_000), text(Kind::Multilingual, 7, 50_000));
    assert_ne!(text(Kind::Multilingual, 7, 50_000), text(Kind::Multilingual, 8, 50_000));
    assert!(text(Kind::Multilingual, 7, 50_000).contains('道'));
}

#[test]
fn the_vocabulary_grows() {
    let text = text(Kind::English, 1, 2_000_000);
    let different = |text: &str| text.split_whitespace().collect::<HashSet<_>>().len();
    let (half, whole) = (different(&text[..text.floor_char_boundary(1_000_000)]), different(&text));
    assert!(half > 8_000 && whole > half + 1_000, "{half}, {whole}");
}
