//! `gristmill demo`: a whole server, a whole book, and an orderly end.

mod server;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use gristmill_common::State;
use serde::Deserialize;

use self::server::DemoServer;
use crate::{
    client::{Client, Submission, Told},
    submit, table,
    watch::{self, Reporter},
};

const EXAMPLES: &str = "\
Examples:
  gristmill demo
  gristmill demo my-book.txt

The server is a process of its own on a free port, with a temporary folder for its data, and with none of your
GRISTMILL_ variables. It is stopped at the end.";

/// Starts a server, has the words of a book counted through HTTP, and stops it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoOptions {
    /// The book: a text in UTF-8
    #[arg(default_value = "testdata/books/opticks.txt")]
    file: PathBuf,
}

/// What `word_count` answers, as far as it is shown.
#[derive(Debug, Deserialize)]
struct WordCount {
    words: u64,
    lines: u64,
    characters: u64,
    bytes: u64,
    unique_words: u64,
    top_words: Vec<TopWord>,
}

#[derive(Debug, Deserialize)]
struct TopWord {
    word: String,
    count: u64,
}

/// Shows everything once.
///
/// # Errors
/// The book cannot be read, the server does not start, the job does not succeed, or the server does not end well.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let book = options.file;
    anyhow::ensure!(
        book.is_file(),
        "there is no book at {}: name any text file, as in `gristmill demo my-book.txt`",
        book.display()
    );
    say("Starting a server on a free port, with a temporary folder for its data.\n")?;
    let server = DemoServer::start().await?;
    say(&format!("It listens on {}. Sending it {}.\n\n", server.address(), book.display()))?;
    let shown = tokio::select! {
        shown = show(server.address(), &book) => shown,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and(Err(anyhow::anyhow!("interrupted"))),
    };
    let stopped = server.stop().await;
    shown?;
    stopped?;
    say(&format!("\nThe server has stopped.\n\n{}", farewell(&book)))
}

async fn show(address: &str, book: &Path) -> anyhow::Result<()> {
    let client = Client::new(address)?;
    let started = Instant::now();
    let submission = Submission {
        job_type: "word_count".to_owned(),
        input: submit::text(book).await?,
        queue: None,
        priority: None,
        delay_ms: None,
        tags: vec!["demo".to_owned()],
        idempotency_key: None,
    };
    let accepted = client.submit(submission).await?;
    let ended = watch::until_ended(&client, accepted.job.id, &mut Reporter::on_stderr()).await?;
    let taken = started.elapsed();
    let count = count_of(&client, &ended).await?;
    let counts = [
        ("words", count.words),
        ("lines", count.lines),
        ("characters", count.characters),
        ("bytes", count.bytes),
        ("unique words", count.unique_words),
    ]
    .map(|(name, number)| (name.to_owned(), number));
    let commonest: Vec<_> = count.top_words.into_iter().map(|top| (top.word, top.count)).collect();
    say(&format!(
        "\nCounted in {:.2} s, from the first byte sent to the result:\n\n{}\nThe commonest words:\n\n{}",
        taken.as_secs_f64(),
        table::aligned(&counts),
        table::aligned(&commonest)
    ))
}

/// The result of the job; a large one is not in the job itself.
async fn count_of(client: &Client, ended: &Told) -> anyhow::Result<WordCount> {
    if ended.job.state != State::Succeeded {
        let reason = ended.job.error.as_ref().map_or("nobody said why", |error| &error.message);
        anyhow::bail!("the job is {}: {reason}", ended.job.state);
    }
    let mut result = Vec::new();
    match &ended.job.result {
        Some(inside) => result.extend_from_slice(inside.get().as_bytes()),
        None => {
            let mut body = client.result(ended.job.id).await?;
            while let Some(piece) = body.next().await? {
                result.extend_from_slice(piece.as_ref());
            }
        }
    }
    serde_json::from_slice(&result).context("the result is not understood")
}

/// How to go on, in lines that can be pasted.
fn farewell(book: &Path) -> String {
    let program = env::args().next().unwrap_or_else(|| "gristmill".to_owned());
    format!(
        "To keep one running:\n  {program} serve\nand in another terminal:\n  {program} submit word_count --text {} --wait\n",
        book.display()
    )
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}
