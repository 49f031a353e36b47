#![doc = include_str!("../README.md")]

mod actix_route;
mod burn_down;
mod figures;
mod fleet;
mod footprint;
mod group_commit;
mod idle;
mod load;
mod machine;
mod plan;
mod program;
mod report;
mod stage;
mod submissions;
mod targets;
#[path = "../../handlers/examples/make_text/generator.rs"]
mod text;
mod words;

use clap::{Parser, Subcommand};

use self::{
    figures::{Figures, Section},
    machine::Machine,
    plan::Plan,
    stage::Stage,
    words::Words,
};

/// Measures Gristmill beside bare loops, and says which targets hold.
#[derive(Debug, Parser)]
struct Arguments {
    /// A short run that shows that everything can be measured; its figures mean little
    #[arg(long)]
    quick: bool,
    /// Only these sections of the report, such as `a,b,c`
    #[arg(long, value_delimiter = ',', value_name = "SECTIONS")]
    only: Vec<Section>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the program starts as a process of its own.
#[derive(Debug, Subcommand)]
enum Part {
    /// Serves the bare route of section (a)
    #[command(hide = true)]
    BareActix,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::BareActix) = arguments.part {
        return actix_route::serve();
    }
    // The load shares the processors with the server: it gets one thread.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let stage = Stage::set(if arguments.quick { Plan::quick() } else { Plan::full() })?;
    let chosen = |section| arguments.only.is_empty() || arguments.only.contains(&section);
    let machine = Machine::look()?;
    let mut figures = Figures::default();
    let words = if chosen(Section::Words) { Some(Words::prepare(&stage)?) } else { None };
    for round in 1..=stage.plan.rounds {
        for section in Section::ALL.into_iter().filter(|&section| chosen(section)) {
            eprintln!("round {round} of {}: {section}", stage.plan.rounds);
            match section {
                Section::Route => actix_route::measure(&stage, &mut figures).await?,
                Section::GroupCommit => group_commit::measure(&stage, &mut figures).await?,
                Section::Submissions => submissions::measure(&stage, &mut figures).await?,
                Section::BurnDown => burn_down::measure(&stage, &mut figures).await?,
                Section::Idle => idle::measure(&stage, &mut figures).await?,
                Section::Words => match &words {
                    Some(words) => words.measure(&stage, &mut figures).await?,
                    None => continue,
                },
                Section::Footprint => footprint::measure(&stage, &mut figures).await?,
                Section::Fleet => fleet::measure(&stage, &mut figures).await?,
            }
        }
    }
    report::publish(&stage, &machine.look_again()?, &figures)
}
