//! `gristmill submit`: hands in a job.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use gristmill_common::{QueueName, TypeName};
use serde_json::value::RawValue;
use tokio::{fs, io::AsyncReadExt};
use tokio_util::io::ReaderStream;

use crate::{
    client::{Client, Input, Submission},
    ending::Ending,
    json,
    server_option::ServerOption,
    watch::{self, Reporter},
};

/// How much of a text is in memory at once, in bytes.
const PIECE: usize = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  gristmill submit word_count --payload '{\"text\": \"to be or not to be\"}' --wait
  gristmill submit word_count --text book.txt --tag books --tag english
  zcat book.txt.gz | gristmill submit word_count --text - --priority low
  gristmill watch $(gristmill submit word_count --text book.txt --quiet)

The job is stored when it is printed: neither a crash of the server nor of this program loses it. If the
connection broke before, it may have been stored all the same; with --idempotency-key the same line may simply
be sent again. With --wait the exit code is that of `gristmill watch`.";

/// Submits a job and prints it as JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubmitOptions {
    /// The job type, such as word_count
    #[arg(value_name = "TYPE")]
    job_type: TypeName,
    #[command(flatten)]
    input: InputOptions,
    /// A declared queue [default: default]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<QueueName>,
    /// How urgent it is [default: normal]
    #[arg(long, value_parser = ["high", "normal", "low"])]
    priority: Option<String>,
    /// Starts it no sooner than so many milliseconds from now
    #[arg(long, value_name = "MILLISECONDS")]
    delay_ms: Option<u64>,
    /// A word to find it by; may be given more than once
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Makes a second try with the same key find the first one's job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Waits until it has ended, and prints it then
    #[arg(long)]
    wait: bool,
    /// Prints its id alone
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    server: ServerOption,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct InputOptions {
    /// The payload
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// A file with the payload in JSON; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// A text file to stream as the job's text, of any size that the server allows; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

pub(crate) async fn run(options: SubmitOptions) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server.server)?;
    let submission = Submission {
        job_type: options.job_type.to_string(),
        input: options.input.open().await?,
        queue: options.queue.map(|queue| queue.to_string()),
        priority: options.priority,
        delay_ms: options.delay_ms,
        tags: options.tags,
        idempotency_key: options.idempotency_key,
    };
    let mut told = client.submit(submission).await?;
    let mut ending = Ending::Done;
    if options.wait {
        told = watch::until_ended(&client, told.job.id, &mut Reporter::on_stderr()).await?;
        ending = Ending::of(told.job.state);
    }
    let mut stdout = io::stdout().lock();
    if options.quiet {
        writeln!(stdout, "{}", told.job.id)?;
    } else {
        writeln!(stdout, "{}", json::laid_out(&told.text))?;
    }
    stdout.flush()?;
    Ok(ending)
}

impl InputOptions {
    async fn open(self) -> anyhow::Result<Input> {
        if let Some(path) = self.text {
            return text(&path).await;
        }
        let payload = match (self.payload, self.payload_file) {
            (Some(json), _) => Some(RawValue::from_string(json).context("--payload is not JSON")?),
            (None, Some(path)) => {
                let json = read(&path).await.with_context(|| format!("cannot read {}", path.display()))?;
                Some(RawValue::from_string(json).with_context(|| format!("{} is not JSON", path.display()))?)
            }
            (None, None) => None,
        };
        Ok(Input::Payload(payload))
    }
}

/// A text to be streamed from this file, or from stdin.
///
/// # Errors
/// The file cannot be opened.
pub(crate) async fn text(path: &Path) -> anyhow::Result<Input> {
    if is_stdin(path) {
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(tokio::io::stdin(), PIECE));
        return Ok(Input::Text { body, length: None });
    }
    let cannot = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).await.with_context(cannot)?;
    let about = file.metadata().await.with_context(cannot)?;
    anyhow::ensure!(!about.is_dir(), "{}: it is a folder", cannot());
    // A pipe has no length beforehand.
    let length = about.is_file().then_some(about.len());
    Ok(Input::Text { body: reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, PIECE)), length })
}

async fn read(path: &Path) -> io::Result<String> {
    if !is_stdin(path) {
        return fs::read_to_string(path).await;
    }
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await?;
    Ok(text)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
