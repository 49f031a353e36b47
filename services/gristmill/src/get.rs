//! `gristmill get`: a job, or its result.

use std::io::{self, IsTerminal, Write};

use gristmill_common::JobId;

use crate::{client::Client, json, server_option::ServerOption};

const EXAMPLES: &str = "\
Examples:
  gristmill get job_01jd8000000000000000000000
  gristmill get job_01jd8000000000000000000000 --result > result.json";

/// Prints a job as JSON, or its result alone.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetOptions {
    /// The job's id
    id: JobId,
    /// Prints the result alone, byte for byte as the job made it
    #[arg(long)]
    result: bool,
    #[command(flatten)]
    server: ServerOption,
}

pub(crate) async fn run(options: GetOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server.server)?;
    let mut stdout = io::stdout().lock();
    if options.result {
        let mut body = client.result(options.id).await?;
        while let Some(piece) = body.next().await? {
            stdout.write_all(piece.as_ref())?;
        }
        if stdout.is_terminal() {
            writeln!(stdout)?;
        }
    } else {
        let told = client.job(options.id).await?;
        writeln!(stdout, "{}", json::laid_out(&told.text))?;
    }
    Ok(stdout.flush()?)
}
