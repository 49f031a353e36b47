#![doc = include_str!("../README.md")]

mod embedded;
mod fleet;
mod load;
mod oracle;
mod path;
mod rig;
mod tally;
mod witness;

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use tokio::task::JoinSet;

use self::{rig::Stores, tally::Tally};

/// Causes faults under a load, and says what became of the jobs that were accepted.
#[derive(Debug, Parser)]
struct Arguments {
    /// The long form: a thousand schedules, and everything that takes its time
    #[arg(long)]
    long: bool,
    /// Replays one schedule of the rig: the same faults at the same times, though not the same interleaving
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// How many schedules the rig runs
    #[arg(long, value_name = "NUMBER")]
    schedules: Option<u64>,
    /// The store of the rig's schedules: `sqlite`, or the `mongodb://` URL of a server; both unless it is said
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,
}

/// What the suite consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Seeded schedules on nodes within this process
    Rig,
    /// Workers killed and frozen
    Workers,
    /// A job that aborts its workers, among mates
    Killer,
    /// The leading scheduler killed
    Leaders,
    /// RabbitMQ restarted, purged, and short of memory
    Rabbit,
    /// The store's connections cut, delayed and half-open
    Store,
    /// Each arrow of the architecture's drawing, killed before and after it
    Arrows,
    /// The embedded program killed, its disk full and read-only
    Embedded,
    /// RabbitMQ away at half of the measured capacity; not in the short form, for it measures
    Away,
}

/// Those of a row run side by side: each of them waits most of the time.
const ROWS: [&[Part]; 3] = [
    &[Part::Workers, Part::Killer, Part::Leaders],
    &[Part::Rabbit, Part::Store, Part::Arrows, Part::Embedded],
    &[Part::Away],
];

impl Part {
    async fn hurt(self, tally: &Tally, long: bool) -> anyhow::Result<()> {
        match self {
            // It has options of its own.
            Self::Rig => Ok(()),
            Self::Workers => fleet::workers::hurt(tally).await,
            Self::Killer => fleet::killer::hurt(tally).await,
            Self::Leaders => fleet::leaders::hurt(tally, if long { 5 } else { 2 }).await,
            Self::Rabbit => fleet::rabbit::hurt(tally).await,
            Self::Store => fleet::store::hurt(tally).await,
            Self::Arrows => fleet::arrows::hurt(tally, if long { 5 } else { 1 }).await,
            Self::Embedded => embedded::hurt(tally, if long { 40 } else { 10 }).await,
            Self::Away => fleet::away::hurt(tally, Duration::from_secs(if long { 60 } else { 10 })).await,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let tally = runtime.block_on(cause(&arguments))?;
    println!("{tally}");
    let is_kept = tally.is_clean() && (tally.is_in_time() || !arguments.long);
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn cause(arguments: &Arguments) -> anyhow::Result<Tally> {
    let (tally, began) = (Tally::default(), Instant::now());
    let chosen = |part| match arguments.only.as_slice() {
        [] => arguments.long || part != Part::Away,
        only => only.contains(&part),
    };
    if chosen(Part::Rig) || arguments.seed.is_some() {
        for (stores, schedules) in rounds(arguments) {
            seeded(&stores, schedules, arguments.seed, &tally).await;
        }
    }
    if arguments.seed.is_some() {
        return Ok(tally);
    }
    for row in ROWS {
        let row: Vec<Part> = row.iter().copied().filter(|&part| chosen(part)).collect();
        if row.is_empty() {
            continue;
        }
        println!("{row:?}, after {:.0?}", began.elapsed());
        let mut parts = JoinSet::new();
        for part in row {
            let (tally, long) = (tally.clone(), arguments.long);
            parts.spawn(async move { (part, part.hurt(&tally, long).await, Instant::now()) });
        }
        while let Some(ended) = parts.join_next().await {
            match ended {
                Ok((part, done, at)) => {
                    if let Err(error) = done {
                        tally.complain(&format!("{part:?}"), &format!("{error:#}"));
                    }
                    println!("{part:?} has ended, after {:.0?}", at - began);
                }
                Err(panicked) => tally.complain("a part", &panicked.to_string()),
            }
        }
    }
    println!("all in {:.0?}", began.elapsed());
    Ok(tally)
}

/// Which stores the rig uses, and for how many schedules.
fn rounds(arguments: &Arguments) -> Vec<(Stores, u64)> {
    let (on_sqlite, on_mongo) = if arguments.long { (1_000, 200) } else { (40, 10) };
    let schedules = |usual| arguments.schedules.unwrap_or(usual);
    match arguments.store.as_deref() {
        Some("sqlite") => vec![(Stores::Sqlite, schedules(on_sqlite))],
        Some(url) => vec![(Stores::Mongo(url.to_owned()), schedules(on_sqlite))],
        None => {
            let mut rounds = vec![(Stores::Sqlite, schedules(on_sqlite))];
            if let (Ok(url), None) = (env::var("MONGODB_URL"), arguments.seed) {
                rounds.push((Stores::Mongo(url), schedules(on_mongo)));
            }
            rounds
        }
    }
}

async fn seeded(stores: &Stores, schedules: u64, seed: Option<u64>, tally: &Tally) {
    let (first, schedules) = seed.map_or_else(|| (u64::from(fastrand::u32(..)), schedules), |seed| (seed, 1));
    let seeds: Vec<u64> = (first..first + schedules).collect();
    let (name, option) = match stores {
        Stores::Sqlite => ("SQLite", "sqlite"),
        Stores::Mongo(_) => ("MongoDB", "$MONGODB_URL"),
    };
    println!("{schedules} schedules on {name}, seeds {first} to {}", first + schedules - 1);
    for seed in rig::run(stores, &seeds, tally).await {
        println!("seed {seed} went wrong on {name}: replay it with ARGS='--seed {seed} --store {option}'");
    }
}
