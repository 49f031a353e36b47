//! The breakers around what the process cannot do without: shown in its health, and in its metrics.

use std::{sync::Arc, time::Duration};

use gristmill_common::breaker::{Reading, State};
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;

/// How often the metrics are brought up to date.
const LOOK: Duration = Duration::from_secs(1);

/// Named breakers, each to be asked how it stands. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Breakers(Vec<Named>);

#[derive(Clone)]
struct Named {
    name: &'static str,
    read: Arc<dyn Fn() -> Reading + Send + Sync>,
}

impl Breakers {
    pub(super) fn add(&mut self, name: &'static str, read: impl Fn() -> Reading + Send + Sync + 'static) {
        self.0.push(Named { name, read: Arc::new(read) });
    }

    /// How each stands, by its name.
    pub(super) fn states(&self) -> impl Iterator<Item = (String, State)> {
        self.0.iter().map(|Named { name, read }| ((*name).to_owned(), read().state))
    }

    /// Keeps the metrics up to date until `shutdown`.
    pub(super) async fn measure(self, shutdown: CancellationToken) {
        let measure = async {
            loop {
                for Named { name, read } in &self.0 {
                    let Reading { state, opened } = read();
                    gauge!("gristmill_breaker_state", "name" => *name).set(f64::from(state.number()));
                    counter!("gristmill_breaker_opened_total", "name" => *name).absolute(opened);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        shutdown.run_until_cancelled(measure).await;
    }
}
