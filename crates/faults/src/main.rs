#![doc = include_str!("../README.md")]

mod fleet;
mod oracle;
mod path;
mod rig;
mod tally;
mod witness;

use std::{env, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};

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
    /// RabbitMQ restarted, purged, and short of memory
    Rabbit,
    /// The store's connections cut, delayed and half-open
    Store,
    /// Each arrow of the architecture's drawing, killed before and after it
    Arrows,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tally = runtime.block_on(cause(&arguments))?;
    println!("{tally}");
    Ok(if tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn cause(arguments: &Arguments) -> anyhow::Result<Tally> {
    let (tally, began) = (Tally::default(), Instant::now());
    let chosen = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if chosen(Part::Rig) || arguments.seed.is_some() {
        for (stores, schedules) in rounds(arguments) {
            seeded(&stores, schedules, arguments.seed, &tally).await;
        }
    }
    if arguments.seed.is_some() {
        return Ok(tally);
    }
    for part in [Part::Workers, Part::Rabbit, Part::Store, Part::Arrows].into_iter().filter(|&part| chosen(part)) {
        println!("{part:?}, after {:.0?}", began.elapsed());
        let done = match part {
            Part::Rig => Ok(()),
            Part::Workers => fleet::workers::hurt(&tally).await,
            Part::Rabbit => fleet::rabbit::hurt(&tally).await,
            Part::Store => fleet::store::hurt(&tally).await,
            Part::Arrows => fleet::arrows::hurt(&tally, if arguments.long { 5 } else { 1 }).await,
        };
        if let Err(error) = done {
            tally.complain(&format!("{part:?}"), &format!("{error:#}"));
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
