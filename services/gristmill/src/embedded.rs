//! Everything in one process: the API, the worker and the scheduler on one store and one broker.

use gristmill_runtime::settings::Settings;
use tokio_util::sync::CancellationToken;

/// Runs the three together until `shutdown`, then drains.
///
/// # Errors
/// Something could not be started, or broke off.
pub async fn run_all(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    // The composition goes here. It calls `serve::announce` once requests are accepted.
    let _ = (settings, shutdown);
    anyhow::bail!("the services are not composed yet")
}
