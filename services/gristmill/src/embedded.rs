//! Everything in one process: the API, the worker and the scheduler on one store and one broker.

use std::future::ready;

use gristmill_api::ApiConfig;
use gristmill_handlers::Registry;
use gristmill_runtime::{
    process::Process,
    settings::{Program, Settings},
};
use tokio_util::sync::CancellationToken;

use crate::ready::announce;

/// Runs the three together, with these handlers, until `shutdown`; then drains.
///
/// # Errors
/// Something could not be started, or broke off.
pub async fn run_all(settings: Settings, registry: Registry, shutdown: CancellationToken) -> anyhow::Result<()> {
    let process = Process::start(Program::Embedded, &settings, registry, &shutdown).await?;
    let Process { engine, ownership, readiness, metrics } = process;
    let worker = gristmill_worker::prepare(engine.clone(), &settings);
    let asked = worker.clone();
    let readiness = readiness.showing("intake", move || ready(gristmill_worker::check(&asked)));
    let server = gristmill_api::bind(ApiConfig::from_settings(&settings), engine.clone(), readiness, metrics)?;
    let scheduler = gristmill_scheduler::prepare(engine, ownership, &settings).await?;
    announce(server.address());
    let work = async {
        tokio::join!(gristmill_worker::run(worker), scheduler.run());
    };
    Ok(server.run_beside(work, shutdown).await?)
}
