//! Where things are measured: the program, the folder for data, and the submission that everything is measured
//! with.

use std::{env, path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    load,
    plan::Plan,
    program::Program,
    text::{Generator, Kind},
};

/// The setting that leaves jobs where they are.
pub(crate) const WORKER_OFF: (&str, &str) = ("GRISTMILL_WORKER__CONCURRENCY", "0");

/// The text of the submission. Its JSON is about a kilobyte long.
const TEXT_BYTES: u64 = 960;

/// What every section needs.
pub(crate) struct Stage {
    /// How much is measured.
    pub(crate) plan: Plan,
    /// The submission: a request of about a kilobyte of JSON, for any number of connections.
    pub(crate) submission: Arc<[u8]>,
    program: PathBuf,
    folder: PathBuf,
}

impl Stage {
    /// Finds the program beside this one, and a folder for data in the target folder: on a disk, where `/tmp`
    /// may be none.
    ///
    /// # Errors
    /// The program is missing.
    pub(crate) fn set(plan: Plan) -> anyhow::Result<Self> {
        let own = env::current_exe().context("cannot tell where this program is")?;
        let programs = own.parent().context("this program lies nowhere")?;
        let program = programs.join("gristmill");
        ensure!(program.is_file(), "there is no `gristmill` beside this program: build it in the same profile first");
        let folder = programs.parent().context("there is no target folder")?.join("bench");
        std::fs::create_dir_all(&folder).context("cannot make the folder for data")?;
        let text: String = Generator::new(Kind::English, 1).take_bytes(TEXT_BYTES).collect();
        let body = json!({ "type": "word_count", "payload": { "text": text, "top": 0 } }).to_string();
        let submission = load::request("POST", "/api/v1/jobs", &[load::JSON], body.as_bytes()).into();
        Ok(Self { plan, submission, program, folder })
    }

    /// The program `gristmill`, beside which the others lie.
    pub(crate) fn program(&self) -> &PathBuf {
        &self.program
    }

    /// Where the report goes.
    pub(crate) fn reports(&self) -> &PathBuf {
        &self.folder
    }

    /// An empty folder, erased when it is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn fresh_folder(&self) -> anyhow::Result<TempDir> {
        tempfile::Builder::new().prefix("data-").tempdir_in(&self.folder).context("cannot make a folder for data")
    }

    /// A server on this folder, with these settings (`GRISTMILL_...`) and the defaults for the rest. It says only
    /// what went wrong.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn server(&self, data: &TempDir, settings: &[(&str, &str)]) -> anyhow::Result<Program> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        command.env("GRISTMILL_LOG__FILTER", "warn").envs(settings.iter().copied());
        Program::start(&mut command).await
    }
}
