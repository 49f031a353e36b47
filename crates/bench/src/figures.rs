//! What was measured, round by round.

use std::fmt;

use serde::Serialize;

use crate::load::Sample;

/// A section of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub(crate) enum Section {
    #[value(name = "a")]
    #[serde(rename = "a")]
    Route,
    #[value(name = "b")]
    #[serde(rename = "b")]
    GroupCommit,
    #[value(name = "c")]
    #[serde(rename = "c")]
    Submissions,
    #[value(name = "d")]
    #[serde(rename = "d")]
    BurnDown,
    #[value(name = "e")]
    #[serde(rename = "e")]
    Idle,
    #[value(name = "f")]
    #[serde(rename = "f")]
    Words,
    #[value(name = "g")]
    #[serde(rename = "g")]
    Footprint,
    #[value(name = "h")]
    #[serde(rename = "h")]
    Fleet,
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Where it stands in the report.
    pub(crate) section: Section,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// What it is counted in.
    pub(crate) unit: &'static str,
}

/// A figure, round by round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) row: Row,
    pub(crate) rounds: Vec<f64>,
    /// How long half of the requests took at most, in milliseconds, if there were requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) p50_ms: Vec<f64>,
    /// The same of all but a hundredth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) p99_ms: Vec<f64>,
}

/// Every figure, in the order of the report.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Figures(Vec<Figure>);

impl Section {
    /// Every section, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Route,
        Self::GroupCommit,
        Self::Submissions,
        Self::BurnDown,
        Self::Idle,
        Self::Words,
        Self::Footprint,
        Self::Fleet,
    ];
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route => "(a) a bare actix-web route",
            Self::GroupCommit => "(b) a bare SQLite group-commit loop",
            Self::Submissions => "(c) durable submissions",
            Self::BurnDown => "(d) a burn-down of no-op jobs",
            Self::Idle => "(e) one job at a time",
            Self::Words => "(f) counting words",
            Self::Footprint => "(g) at rest",
            Self::Fleet => "(h) a fleet behind nginx: 2 api, 2 schedulers",
        })
    }
}

impl Figures {
    /// Adds what a round has measured.
    pub(crate) fn record(&mut self, row: Row, value: f64) {
        self.figure(row).rounds.push(value);
    }

    /// Adds what a round of requests has measured.
    pub(crate) fn record_sample(&mut self, row: Row, sample: Sample) {
        let figure = self.figure(row);
        figure.rounds.push(sample.per_second);
        figure.p50_ms.push(sample.p50_ms);
        figure.p99_ms.push(sample.p99_ms);
    }

    /// The median of the rounds, if there were any.
    pub(crate) fn median(&self, row: Row) -> Option<f64> {
        self.find(row).and_then(|figure| median(&figure.rounds))
    }

    /// The median of the rounds' 99th percentiles, in milliseconds.
    pub(crate) fn median_p99_ms(&self, row: Row) -> Option<f64> {
        self.find(row).and_then(|figure| median(&figure.p99_ms))
    }

    /// Every figure.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter()
    }

    fn find(&self, row: Row) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.row == row)
    }

    fn figure(&mut self, row: Row) -> &mut Figure {
        let place = self.0.iter().position(|figure| figure.row == row).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push(Figure { row, rounds: Vec::new(), p50_ms: Vec::new(), p99_ms: Vec::new() });
        }
        &mut self.0[place]
    }
}

/// The middle of some values; of two, the mean.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some((sorted[low] + sorted[high]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
