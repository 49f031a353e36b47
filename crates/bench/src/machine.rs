//! What else the machine does while it is measured: a figure from a busy machine means little.

use std::fs;

use anyhow::Context;
use gristmill_common::Clock;
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

/// Processor time since the machine started, in ticks.
struct Spent {
    all: u64,
    busy: u64,
    stolen: u64,
    /// By this process and its children.
    ours: u64,
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
        let (before, after) = (self.spent, Spent::so_far()?);
        let all = (after.all - before.all).max(1) as f64;
        let others = (after.busy - before.busy).saturating_sub(after.ours - before.ours);
        Ok(Conditions {
            date: self.date,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(),
            load_before: self.load,
            load_after: load()?,
            others_percent: 100.0 * others as f64 / all,
            stolen_percent: 100.0 * (after.stolen - before.stolen) as f64 / all,
            release: !cfg!(debug_assertions),
        })
    }
}

impl Spent {
    /// Source: proc(5), `/proc/stat` and `/proc/pid/stat`.
    fn so_far() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .context("/proc/stat is empty")?
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [user, nice, system, idle, waiting, hard, soft, stolen, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat is not what it was");
        };
        let busy = user + nice + system + hard + soft;
        let own = fs::read_to_string("/proc/self/stat")?;
        // The name before them may hold spaces. These are utime, stime, cutime and cstime.
        let fields = own.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(4);
        let ours = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Self { all: busy + idle + waiting + stolen, busy, stolen, ours })
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
