//! `gristmill watch`: follows a job to its end.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use gristmill_common::{JobId, State, http::JobView};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, ClientError, Told},
    ending::Ending,
    server_option::ServerOption,
};

/// Between two questions. An unchanged job is answered with an empty 304.
const POLL: Duration = Duration::from_millis(200);
/// How long a server that has answered before may be away, as when it restarts.
const PATIENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  gristmill watch job_01jd8000000000000000000000
  gristmill watch $(gristmill submit word_count --text book.txt --quiet) && echo counted

On a terminal it draws a progress bar; elsewhere it prints a line for each change. A server that restarts
meanwhile is waited for.

Exit codes:
  0   the job has succeeded
  1   it has failed
  2   it was cancelled
  3   it could not be watched: no server, no such job
  64  the command line is not understood";

/// Follows a job until it has ended; the exit code says how.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchOptions {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerOption,
}

pub(crate) async fn run(options: WatchOptions) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server.server)?;
    let told = until_ended(&client, options.id, &mut Reporter::on_stdout()).await?;
    Ok(Ending::of(told.job.state))
}

/// Asks again and again until the job has ended, and reports each change.
pub(crate) async fn until_ended(client: &Client, id: JobId, reporter: &mut Reporter) -> anyhow::Result<Told> {
    let mut told = client.job(id).await?;
    let mut heard = Instant::now();
    loop {
        reporter.report(&told.job)?;
        if told.job.state.is_terminal() {
            reporter.end();
            return Ok(told);
        }
        loop {
            sleep(POLL).await;
            let answer = match &told.etag {
                Some(etag) => client.job_if_changed(id, etag).await,
                None => client.job(id).await.map(Some),
            };
            match answer {
                Ok(changed) => {
                    heard = Instant::now();
                    if let Some(changed) = changed {
                        told = changed;
                        break;
                    }
                }
                Err(ClientError::Unreachable { .. } | ClientError::BrokeOff { .. }) if heard.elapsed() < PATIENCE => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Shows how far a job has come.
pub(crate) enum Reporter {
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// A line for each change.
    Lines {
        /// Where to.
        out: Box<dyn Write>,
        /// The last line, so that none comes twice.
        last: String,
    },
}

impl Reporter {
    /// A bar on stderr if that is a terminal; else lines there, to leave stdout to the answer.
    pub(crate) fn on_stderr() -> Self {
        if io::stderr().is_terminal() { Self::bar() } else { Self::lines(Box::new(io::stderr())) }
    }

    /// A bar if stdout is a terminal; else lines there.
    pub(crate) fn on_stdout() -> Self {
        if io::stdout().is_terminal() { Self::bar() } else { Self::lines(Box::new(io::stdout())) }
    }

    fn lines(out: Box<dyn Write>) -> Self {
        Self::Lines { out, last: String::new() }
    }

    fn bar() -> Self {
        let bar = ProgressBar::new(100);
        // A template that is not understood would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:40}] {percent:>3}% {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self::Bar(bar)
    }

    fn report(&mut self, job: &JobView) -> io::Result<()> {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(job.job_type.to_string());
                bar.set_position(job.progress.percent.into());
                bar.set_message(news(job));
                Ok(())
            }
            Self::Lines { out, last } => {
                let line = format!("{} {:>3}% {}", job.id, job.progress.percent, news(job));
                if *last == line {
                    return Ok(());
                }
                writeln!(out, "{line}")?;
                *last = line;
                out.flush()
            }
        }
    }

    /// Leaves the last word standing.
    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}

/// The state, and what there is to say about it.
fn news(job: &JobView) -> String {
    let state = if job.cancel_requested && job.state == State::Running { "cancelling" } else { job.state.as_str() };
    let more = match (&job.error, &job.progress.message) {
        (Some(error), _) if job.state != State::Succeeded => format!("{}: {}", error.code, error.message),
        (_, Some(message)) if !job.state.is_terminal() => message.clone(),
        _ => return state.to_owned(),
    };
    // Somebody else's words: no line breaks, and nothing that steers the terminal.
    let more: String = more.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("{state} ({more})")
}
