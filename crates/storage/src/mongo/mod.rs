//! The store on MongoDB, for many programs on many machines: concurrent callers share bulk writes, one supervisor
//! keeps in touch with the server, and everybody else fails fast while it is away.

mod apply;
mod archive;
mod batcher;
mod blobs;
mod claim;
mod collections;
mod counts;
mod decode;
mod document;
mod fault;
mod history;
mod insert;
mod jobs_read;
mod known;
mod link;
mod list;
mod logs;
#[cfg(test)]
mod plans;
mod pool;
mod records;
mod registers;
mod remove;
mod schema;
mod server;
mod store;
mod supervisor;
mod swap;
mod update;

use std::sync::Arc;

use gristmill_common::Clock;
use mongodb::Client;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use self::{
    apply::Changes,
    batcher::Batcher,
    counts::Counts,
    insert::Inserts,
    known::Known,
    link::{Link, Standing},
    logs::Lines,
    pool::Place,
    server::Server,
    supervisor::Supervisor,
};
use crate::{Migration, StoreError, bounds::Bounds};

/// The most statements of a command that is not made by a batcher.
const STATEMENTS: usize = 500;

/// A database, or the way to it. The traits of a store are implemented in `store.rs`.
pub(crate) struct MongoStore {
    link: Link,
    inserts: Batcher<Inserts>,
    changes: Batcher<Changes>,
    lines: Batcher<Lines>,
    counts: Counts,
    known: Known,
    supervisor: AbortHandle,
}

impl MongoStore {
    /// Begins to connect, and returns at once.
    ///
    /// # Errors
    /// The URL is malformed.
    pub(crate) fn open(url: &str, clock: &Clock) -> Result<Self, StoreError> {
        let place = Place::parse(url)?;
        let (standing, stands) = watch::channel(Standing::unknown(Supervisor::not_yet()));
        let supervisor = Supervisor { place, clock: clock.clone(), standing, trouble: Arc::new(Notify::new()) };
        let link = Link::new(stands);
        let known = Known::default();
        Ok(Self {
            inserts: Batcher::new("insert", Inserts(link.clone()), Bounds::default()),
            changes: Batcher::new("change", Changes { link: link.clone(), known: known.clone() }, Bounds::default()),
            lines: Batcher::new("log", Lines(link.clone()), Bounds::default()),
            counts: Counts::default(),
            known,
            link,
            supervisor: tokio::spawn(supervisor.run()).abort_handle(),
        })
    }
}

/// What opening this database would do to its schema.
///
/// # Errors
/// The URL is malformed, or the server does not answer, or a newer build has migrated the database.
pub(crate) async fn pending(url: &str) -> Result<Vec<Migration>, StoreError> {
    let place = Place::parse(url)?;
    let look = async {
        let client = Client::with_options(place.options().await?)?;
        schema::pending(&Server::new(client.database(&place.database), Arc::default())).await
    };
    look.await.map_err(StoreError::from)
}

impl Drop for MongoStore {
    /// What was handed over is still written: it runs by itself.
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}
