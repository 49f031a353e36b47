//! A whole fleet: replicas of the API behind the real nginx, workers and schedulers, each a process of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{Gateway, GatewayBuilder, Http, Process, ProcessBuilder, World, eventually};

/// What a process of the fleet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Serves HTTP.
    Api,
    /// Runs jobs.
    Worker,
    /// Sees to the duties.
    Scheduler,
}

/// How to start a fleet.
#[derive(Debug, Clone)]
pub struct FleetBuilder {
    folder: PathBuf,
    /// In the order of [`Kind::ALL`].
    counts: [usize; 3],
    settings: Vec<(Option<Kind>, String, String)>,
}

/// A running fleet; everything is stopped when it is dropped.
pub struct Fleet {
    // Dropped in this order: who asks before who is asked.
    gateway: Gateway,
    processes: [Vec<Process>; 3],
    world: World,
    builder: FleetBuilder,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::Scheduler];

    fn program(self) -> &'static str {
        match self {
            Self::Api => "gristmill-api",
            Self::Worker => "gristmill-worker",
            Self::Scheduler => "gristmill-scheduler",
        }
    }
}

impl FleetBuilder {
    /// Two of each kind, of the programs beside this one (`env!("CARGO_BIN_EXE_gristmill")`), with the job types for
    /// tests.
    pub fn new(beside: impl AsRef<Path>) -> Self {
        let folder = beside.as_ref().parent().map(Path::to_owned).unwrap_or_default();
        Self { folder, counts: [2; 3], settings: Vec::new() }.with("handlers.test_types", true)
    }

    /// With so many of a kind.
    #[must_use]
    pub fn count(mut self, kind: Kind, count: usize) -> Self {
        self.counts[kind as usize] = count;
        self
    }

    /// With this setting for every process, such as `worker.lease_ms`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((None, key.to_owned(), value.to_string()));
        self
    }

    /// With this setting for the processes of a kind.
    #[must_use]
    pub fn with_for(mut self, kind: Kind, key: &str, value: impl ToString) -> Self {
        self.settings.push((Some(kind), key.to_owned(), value.to_string()));
        self
    }

    /// Starts a fleet in this world, and waits until every process of it is ready.
    ///
    /// # Errors
    /// A program is missing, ended, or was not ready in time.
    pub async fn start(self, world: World) -> anyhow::Result<Fleet> {
        let mut processes = [Vec::new(), Vec::new(), Vec::new()];
        for kind in Kind::ALL {
            for _ in 0..self.counts[kind as usize] {
                processes[kind as usize].push(self.process(kind, &world).spawn()?);
            }
        }
        // All are on their way: waiting for one after the other takes as long as for the slowest.
        for process in processes.iter_mut().flatten() {
            process.ready().await?;
        }
        let gateway = GatewayBuilder::new(urls(&mut processes[Kind::Api as usize]).await?).start().await?;
        Ok(Fleet { gateway, processes, world, builder: self })
    }

    /// How to start one process of a fleet in this world, for tests that start them one by one.
    #[must_use]
    pub fn process(&self, kind: Kind, world: &World) -> ProcessBuilder {
        let own = self.settings.iter().filter(|(of, ..)| of.is_none_or(|of| of == kind));
        ProcessBuilder::new(self.folder.join(kind.program()))
            .with("http.listen", "127.0.0.1:0")
            .with("store.url", world.store_url())
            .with("broker.url", world.broker_url())
            .with_all(own.map(|(_, key, value)| (key.as_str(), value.as_str())))
    }
}

impl Fleet {
    /// Where the gateway listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.gateway.url()
    }

    /// A client of the gateway, with connections of its own.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(&self.url())
    }

    /// What it stands on.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The processes of a kind, in the order in which they were started.
    #[must_use]
    pub fn processes(&self, kind: Kind) -> &[Process] {
        &self.processes[kind as usize]
    }

    /// One of them, to be hurt.
    pub fn process(&mut self, kind: Kind, place: usize) -> &mut Process {
        &mut self.processes[kind as usize][place]
    }

    /// Starts one more, and waits until it is ready, and for a replica of the API, until requests go there.
    ///
    /// # Errors
    /// It could not be started, or was not ready in time.
    pub async fn add(&mut self, kind: Kind) -> anyhow::Result<()> {
        let mut process = self.builder.process(kind, &self.world).spawn()?;
        process.ready().await?;
        self.processes[kind as usize].push(process);
        if kind == Kind::Api {
            let replicas = urls(&mut self.processes[kind as usize]).await?;
            self.gateway.reload(replicas).await?;
        }
        Ok(())
    }

    /// Starts again one that was killed, where it was, and waits until it is ready.
    ///
    /// # Errors
    /// It could not be started, or was not ready in time.
    pub async fn restart(&mut self, kind: Kind, place: usize) -> anyhow::Result<()> {
        let process = self.process(kind, place);
        process.restart().await?;
        process.ready().await.map(drop)
    }

    /// Which scheduler leads: waits until one does.
    ///
    /// # Errors
    /// A scheduler does not say where it listens.
    pub async fn leader(&mut self) -> anyhow::Result<usize> {
        let mut schedulers = Vec::new();
        for (place, process) in self.processes[Kind::Scheduler as usize].iter_mut().enumerate() {
            if process.ended()?.is_none() {
                schedulers.push((place, Http::new(&process.url().await?)));
            }
        }
        let leading = eventually("a scheduler leads", || async {
            for (place, http) in &schedulers {
                if http.metric("gristmill_scheduler_leading").await > 0.0 {
                    return Some(*place);
                }
            }
            None
        });
        Ok(leading.await)
    }
}

async fn urls(processes: &mut [Process]) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    for process in processes {
        if process.ended()?.is_none() {
            urls.push(process.url().await.context("a replica of the API")?);
        }
    }
    Ok(urls)
}
