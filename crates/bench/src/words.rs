//! (f) Words of English counted: by the handler alone, as a job over HTTP, and by `wc -w` on the same text.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::{StreamExt, stream};
use gristmill_common::{Clock, JobId, State, Tenant, http::JobView};
use gristmill_handlers::{Context, JobHandler, JobInfo, Registry, Text, WordCount};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    figures::{Figures, Row, Section},
    load::{self, Connection, seconds_since},
    stage::Stage,
    text::{Generator, Kind},
};

/// The handler, in this process, without a vocabulary.
pub(crate) const PLAIN: Row = row("word_count, `top` 0, the handler alone");
/// The handler, in this process, with the ten commonest words.
pub(crate) const VOCABULARY: Row = row("word_count, `top` 10, the handler alone");
/// What everybody has.
pub(crate) const WC: Row = row("wc -w, LC_ALL=C.UTF-8");

const JOB_PLAIN: Row = row("word_count, `top` 0, as a job: started to finished");
const JOB_VOCABULARY: Row = row("word_count, `top` 10, as a job: started to finished");
const TAKEN_IN: Row =
    Row { section: Section::Words, what: "the text taken in over HTTP, until it is durable", unit: "MiB/s" };

/// The pieces in which the store gives a text.
const CHUNK: usize = 512 * 1024;

const fn row(what: &'static str) -> Row {
    Row { section: Section::Words, what, unit: "million words/s" }
}

/// What is counted.
pub(crate) struct Words {
    text: Bytes,
    folder: TempDir,
}

/// What matters of the result.
#[derive(Deserialize)]
struct Counted {
    words: u64,
}

impl Words {
    /// Makes the text, in memory and as a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn prepare(stage: &Stage) -> anyhow::Result<Self> {
        let mut text = String::with_capacity(stage.plan.text);
        text.extend(Generator::new(Kind::English, 1).take_bytes(stage.plan.text as u64));
        let folder = stage.fresh_folder()?;
        std::fs::write(folder.path().join("english.txt"), &text)?;
        Ok(Self { text: text.into(), folder })
    }

    /// One round.
    ///
    /// # Errors
    /// The counts differ, or a job did not succeed.
    pub(crate) async fn measure(&self, stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
        let words = self.with_wc(figures)?;
        for (row, payload) in [(PLAIN, r#"{"top":0}"#), (VOCABULARY, r#"{"top":10}"#)] {
            let (text, payload) = (self.text.clone(), Bytes::from_static(payload.as_bytes()));
            // As in the worker: on a thread that may block.
            let counting = tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                let counted = Handle::current().block_on(count(text, payload))?;
                anyhow::Ok((counted, seconds_since(began)))
            });
            let (counted, seconds) = counting.await??;
            ensure!(counted == words, "the handler counts {counted} words, and wc {words}");
            figures.record(row, words as f64 / seconds / 1e6);
        }
        self.as_jobs(stage, figures, words).await
    }

    fn with_wc(&self, figures: &mut Figures) -> anyhow::Result<u64> {
        let began = Instant::now();
        let output = Command::new("wc")
            .arg("-w")
            .arg(self.folder.path().join("english.txt"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .context("there is no wc")?;
        let seconds = seconds_since(began);
        let counted = String::from_utf8(output.stdout)?;
        let words: u64 = counted.split(' ').next().context("wc says nothing")?.parse()?;
        figures.record(WC, words as f64 / seconds / 1e6);
        Ok(words)
    }

    async fn as_jobs(&self, stage: &Stage, figures: &mut Figures, words: u64) -> anyhow::Result<()> {
        let data = stage.fresh_folder()?;
        let longest = self.text.len().to_string();
        let server = stage.server(&data, &[("GRISTMILL_HTTP__MAX_TEXT_BYTES", &longest)]).await?;
        let mut connection = Connection::open(server.address()).await?;
        for (row, payload) in [(JOB_PLAIN, "%7B%22top%22%3A0%7D"), (JOB_VOCABULARY, "%7B%22top%22%3A10%7D")] {
            let path = format!("/api/v1/jobs?type=word_count&payload={payload}");
            let submission = load::request("POST", &path, &["content-type: text/plain; charset=utf-8"], &self.text);
            let began = Instant::now();
            let job: JobView = connection.ask(&submission, 202).await?;
            let mebibytes = self.text.len() as f64 / f64::from(1 << 20);
            figures.record(TAKEN_IN, mebibytes / seconds_since(began));
            let wait = load::request("GET", &format!("/api/v1/jobs/{}", job.id), &["prefer: wait=60"], b"");
            let job: JobView = connection.ask(&wait, 200).await?;
            ensure!(job.state == State::Succeeded, "the text is {}", job.state);
            let (Some(started), Some(finished), Some(result)) = (job.started_at, job.finished_at, &job.result) else {
                anyhow::bail!("a job ended without a start, an end or a result");
            };
            let Counted { words: counted } = serde_json::from_str(result.get())?;
            ensure!(counted == words, "the job counts {counted} words, and wc {words}");
            figures.record(row, words as f64 / finished.since(started).as_secs_f64() / 1e6);
        }
        server.kill().await
    }
}

async fn count(text: Bytes, payload: Bytes) -> anyhow::Result<u64> {
    let registry = Registry::default().with(WordCount)?;
    let handler = registry.get(&WordCount::NAME.parse()?).context("word_count is not registered")?;
    let bytes = text.len();
    let pieces = (0..bytes).step_by(CHUNK).map(move |start| Ok(text.slice(start..bytes.min(start + CHUNK))));
    let text = Text { bytes: bytes as u64, chunks: stream::iter(pieces).boxed() };
    let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (context, _reports) = Context::new(info, Clock::start(), CancellationToken::new(), threads, Some(text));
    let result = handler.run(payload, context).await?;
    Ok(serde_json::from_slice::<Counted>(&result)?.words)
}
