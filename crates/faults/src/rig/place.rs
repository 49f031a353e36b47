//! Where a schedule's jobs are kept: a data folder that all of its nodes share within this process, or a database
//! that each of them opens by itself.

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use gristmill_common::Clock;
use gristmill_storage::Store;
use gristmill_testkit::Database;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long a database may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place, erased with its last copy.
#[derive(Clone)]
pub(crate) enum Place {
    /// SQLite's.
    Folder(Arc<dyn Store>, #[expect(dead_code, reason = "kept for its end")] Arc<TempDir>),
    /// MongoDB's.
    Database(Arc<Database>),
}

impl Place {
    /// A new data folder.
    ///
    /// # Errors
    /// There is no room for one.
    pub(crate) async fn folder() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("faults-").tempdir()?;
        let url = format!("sqlite://{}", folder.path().display());
        let store = gristmill_storage::open(&url, &Clock::start()).await?.store;
        Ok(Self::Folder(store, Arc::new(folder)))
    }

    /// A new database on this server.
    pub(crate) fn database(server: &str) -> Self {
        Self::Database(Arc::new(Database::on(server)))
    }

    /// The store there: for a node of its own, as far as it can be.
    ///
    /// # Errors
    /// It cannot be opened, or is not there in time.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        let database = match self {
            Self::Folder(store, _) => return Ok(store.clone()),
            Self::Database(database) => database,
        };
        // The rig's clocks are its own to set: the server does not correct them.
        let store = gristmill_storage::open(database.url(), &Clock::start()).await?.store;
        let asked = Instant::now();
        while let Err(error) = store.ping().await {
            if asked.elapsed() > PATIENCE {
                bail!("the store is not there: {error}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(store)
    }
}
