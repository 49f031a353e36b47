#![doc = include_str!("../README.md")]

use gristmill_engine::{Engine, Lead, Ownership, Scheduler, SchedulerConfig, StoreError};
use gristmill_runtime::{process::scheduler_config, settings::Settings};

/// Makes a scheduler, to be run. On a store that belongs to this process alone it leads without asking, and whatever
/// was running is rescued first, since its worker is gone with the process before: so call this before a worker of this process starts.
///
/// # Errors
/// What was running could not be rescued.
pub async fn prepare(engine: Engine, ownership: Ownership, settings: &Settings) -> Result<Scheduler, StoreError> {
    let config = scheduler_config(settings);
    let lead = if ownership == Ownership::Exclusive { Lead::Always } else { config.lead };
    let scheduler = Scheduler::new(engine, SchedulerConfig { lead, ..config });
    if ownership == Ownership::Exclusive {
        let rescued = scheduler.rescue_what_ran_before().await?;
        if rescued > 0 {
            tracing::warn!(jobs = rescued, "the process before was killed while these ran; they run again");
        }
    }
    Ok(scheduler)
}
