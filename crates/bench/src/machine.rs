//! What else the machine does while it is measured: a figure from a busy machine means little.

use std::{fs, time::Instant};

use anyhow::Context;
use gristmill_common::Clock;
use rustix::param::clock_ticks_per_second;
use serde::Serialize;

/// The machine before the first round.
pub(crate) struct Machine {
    date: String,
    load: String,
    spent: Spent,
}

/// The machine over the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    /// When the run began.
    pub(crate) date: String,
    /// How many processors there are.
    pub(crate) cores: usize,
    /// What they are.
    pub(crate) processor: String,
    /// `/proc/loadavg` before the first round.
    pub(crate) load_before: String,
    /// `/proc/loadavg` after the last one. The run itself is in it.
    pub(crate) load_after: String,
    /// How much of the processors others have used meanwhile, in percent: other programs, and the system's own
    /// threads.
    pub(crate) others_percent: f64,
    /// How much of them the host has kept for itself, in percent.
    pub(crate) stolen_percent: f64,
    /// Whether the programs are a release build.
    pub(crate) release: bool,
}

/// Processor time up to a moment, in seconds.
struct Spent {
    at: Instant,
    /// Nobody had use for it.
    idle: f64,
    stolen: f64,
    /// By this process and its children.
    ours: f64,
}

impl Machine {
    /// Before the first round.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(crate) fn look() -> anyhow::Result<Self> {
        Ok(Self { date: Clock::start().now().to_string(), load: load()?, spent: Spent::so_far()? })
    }

    /// After the last one.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub(crate) fn look_again(self) -> anyhow::Result<Conditions> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (before, after) = (self.spent, Spent::so_far()?);
        let all = cores as f64 * (after.at - before.at).as_secs_f64();
        let (idle, stolen) = (after.idle - before.idle, after.stolen - before.stolen);
        // Not from the busy times: these are sampled by the tick, and miss what sleeps by then.
        let others = all - idle - stolen - (after.ours - before.ours);
        Ok(Conditions {
            date: self.date,
            cores,
            processor: processor(),
            load_before: self.load,
            load_after: load()?,
            others_percent: 100.0 * others.max(0.0) / all,
            stolen_percent: 100.0 * stolen / all,
            release: !cfg!(debug_assertions),
        })
    }
}

impl Spent {
    /// Source: proc(5), `/proc/stat` and `/proc/pid/stat`.
    fn so_far() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = stat.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        let [_user, _nice, _system, idle, waiting, _hard, _soft, stolen, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat is not what it was");
        };
        let own = fs::read_to_string("/proc/self/stat")?;
        // The name before them may hold spaces. These are utime, stime, cutime and cstime.
        let fields = own.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(4);
        let ours = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        Ok(Self { at: Instant::now(), idle: seconds(idle + waiting), stolen: seconds(stolen), ours: seconds(ours) })
    }
}

fn load() -> anyhow::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn processor() -> String {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = all.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}
