//! Makes a large text of a given size, the same for the same seed, and writes it to the standard output:
//!
//! `cargo run --release -p gristmill-handlers --example make_text -- --bytes 1000000 > text.txt`

mod generator;

use std::io::{self, BufWriter, Write as _};

use clap::Parser;

use generator::{Generator, Kind};

/// Makes a large text out of the words of a book.
#[derive(Parser)]
struct Arguments {
    /// How long the text is, in bytes.
    #[arg(long)]
    bytes: u64,
    /// What is in it.
    #[arg(long, value_enum, default_value_t = Kind::English)]
    kind: Kind,
    /// The same seed gives the same text.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> io::Result<()> {
    let Arguments { bytes, kind, seed } = Arguments::parse();
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for paragraph in Generator::new(kind, seed).take_bytes(bytes) {
        output.write_all(paragraph.as_bytes())?;
    }
    output.flush()
}
