//! The report: a table for people, on stdout and in `target/bench/report.md`, and `report.json` for programs.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::json;

use crate::{
    figures::{Figure, Figures, Section, median},
    machine::Conditions,
    stage::Stage,
    targets::{self, Target},
};

/// With more than this taken by others, the sections of a round do not get the same share of the machine.
const BUSY_PERCENT: f64 = 5.0;

/// Prints and writes the report.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn publish(stage: &Stage, conditions: &Conditions, figures: &Figures) -> anyhow::Result<()> {
    let targets = targets::all(figures);
    let text = render(stage, conditions, figures, &targets)?;
    let json = json!({ "plan": stage.plan.name, "conditions": conditions, "figures": figures, "targets": targets });
    let write = |name: &str, content: &str| {
        std::fs::write(stage.reports().join(name), content).with_context(|| format!("cannot write {name}"))
    };
    write("report.md", &text)?;
    write("report.json", &serde_json::to_string_pretty(&json)?)?;
    println!("{text}");
    Ok(())
}

fn render(
    stage: &Stage,
    conditions: &Conditions,
    figures: &Figures,
    targets: &[Target],
) -> Result<String, std::fmt::Error> {
    let Conditions { date, cores, processor, load_before, load_after, others_percent, stolen_percent, release } =
        conditions;
    let mut text = String::new();
    writeln!(text, "# Measured {date}\n")?;
    writeln!(text, "{cores} cores ({processor}); plan: {}.", stage.plan.name)?;
    writeln!(
        text,
        "Load average {load_before} before, {load_after} after (this run included); others used {others_percent:.1} % \
         of the processors meanwhile, and the host kept {stolen_percent:.1} %."
    )?;
    let with_fleet = figures.iter().any(|figure| figure.row.section == Section::Fleet);
    if with_fleet {
        let server = |name| std::env::var(name).unwrap_or_else(|_| "not named".to_owned());
        let (broker, store) = (server("AMQP_SERVER"), server("MONGODB_SERVER"));
        writeln!(text, "The fleet stood on: {broker}; {store}. They are among the others.")?;
    }
    if !release {
        writeln!(text, "\n**Not a release build: these figures mean nothing.**")?;
    }
    if *others_percent > BUSY_PERCENT && !with_fleet {
        writeln!(text, "\n**The machine was busy with other things: shares of (a) and (b) are off, too.**")?;
    }
    writeln!(text, "\n| measured | median | unit | lowest to highest of the rounds | p50 ms | p99 ms |")?;
    writeln!(text, "|---|---:|---|---|---:|---:|")?;
    for section in Section::ALL {
        let mut rows = figures.iter().filter(|figure| figure.row.section == section).peekable();
        if rows.peek().is_some() {
            writeln!(text, "| **{section}** | | | | | |")?;
        }
        rows.try_for_each(|figure| write_row(&mut text, figure))?;
    }
    writeln!(text, "\n| target | wanted | measured | |\n|---|---|---|---|")?;
    for Target { what, wanted, got, holds } in targets {
        let verdict = match holds {
            Some(true) => "pass",
            Some(false) => "**SHORT**",
            None => "not measured",
        };
        writeln!(text, "| {what} | {wanted} | {} | {verdict} |", got.as_deref().unwrap_or("-"))?;
    }
    Ok(text)
}

fn write_row(text: &mut String, figure: &Figure) -> std::fmt::Result {
    let number = |value: Option<f64>| value.map_or_else(String::new, readable);
    let least = figure.rounds.iter().copied().reduce(f64::min);
    let most = figure.rounds.iter().copied().reduce(f64::max);
    writeln!(
        text,
        "| {} | {} | {} | {} to {} | {} | {} |",
        figure.row.what,
        number(median(&figure.rounds)),
        figure.row.unit,
        number(least),
        number(most),
        number(median(&figure.p50_ms)),
        number(median(&figure.p99_ms)),
    )
}

/// Three digits or more, and no more than are needed.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => {
            let whole = format!("{value:.0}");
            let (thousands, rest) = whole.split_at(whole.len() - 3);
            format!("{thousands},{rest}")
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0.1234, 1.5, 12.34, 123.4, 1_234.5, 123_456.0].map(readable),
            ["0.123", "1.50", "12.3", "123", "1,234", "123,456"]
        );
    }
}
