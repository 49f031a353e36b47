//! The one recorder of metrics of a process, and its text for Prometheus.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// The `metrics` crate has one recorder a process, and so has this: a second install answers with the first.
static INSTALLED: OnceLock<Result<PrometheusHandle, MetricsError>> = OnceLock::new();

/// How often finished histograms are folded, so that memory stays bounded while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds in seconds, from half a millisecond to ten minutes: a commit and a long job both find theirs.
const SECONDS: [f64; 19] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0,
];

/// The metrics could not be set up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the metrics cannot be set up: {0}")]
pub struct MetricsError(String);

impl From<BuildError> for MetricsError {
    fn from(error: BuildError) -> Self {
        Self(error.to_string())
    }
}

/// Renders what was recorded. Clones are the same.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of the process, or finds the one that is.
    ///
    /// # Errors
    /// Another recorder is there already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = INSTALLED.get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                .install_recorder()?;
            metrics::gauge!("gristmill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            Ok(handle)
        });
        handle.clone().map(Self)
    }

    /// Everything recorded so far, in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the recorder's memory bounded until `shutdown`. To be spawned once.
    pub async fn upkeep(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_in_buckets_and_a_second_install_is_the_first() {
        let first = Metrics::install().expect("no other recorder");
        metrics::histogram!("gristmill_test_duration_seconds").record(0.3);
        let text = Metrics::install().expect("the same recorder").render();
        assert!(text.contains(r#"gristmill_test_duration_seconds_bucket{le="0.25"} 0"#), "{text}");
        assert!(text.contains(r#"gristmill_test_duration_seconds_bucket{le="0.5"} 1"#), "{text}");
        assert!(first.render().contains("gristmill_build_info{version="), "{text}");
    }
}
