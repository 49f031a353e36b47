//! One round trip: a command, its reply, and how long that may take.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::breaker::{Breaker, Outcome, Reading, Rule};
use mongodb::{
    Database,
    bson::{Document, RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc},
};
use tokio::sync::Notify;

use super::{
    fault::{Fault, Written},
    pool::COMMAND,
};
use crate::StoreError;

/// How long a call may take, with the search for a server.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a write waits to be confirmed by a majority.
const WRITE_TIMEOUT_MS: i32 = 4_000;
/// How long the server works on a read.
const READ_TIMEOUT_MS: i32 = 4_500;
/// More documents than any read asks for: one reply has them all, if they fit.
const ONE_BATCH: i32 = 20_000;

/// When writes are left alone although the server answers: it may have lost its majority, or its disk hangs. Whoever asks
/// would wait for seconds, and hold a connection meanwhile, which reads need. Short waits: a write that comes back in time
/// keeps leases.
const WRITES: Rule = Rule { failures: 5, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(1) };

/// A database, once the way to it is known.
#[derive(Clone)]
pub(super) struct Server {
    database: Database,
    /// Rung when a call failed in a way that makes one ask whether the server is still there.
    trouble: Arc<Notify>,
    /// Around the writes.
    writes: Arc<Mutex<Breaker>>,
    /// The same database, by a way that nothing else is in.
    leases: Option<Arc<Self>>,
}

/// What a read has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// What the primary has.
    Latest,
    /// Only what no failover undoes: for reading back what became of a write.
    Majority,
}

impl Server {
    pub(super) fn new(database: Database, trouble: Arc<Notify>) -> Self {
        Self { database, trouble, writes: Arc::new(Mutex::new(Breaker::new(WRITES))), leases: None }
    }

    /// With connections of their own for leases.
    pub(super) fn with_leases(self, database: Database) -> Self {
        let leases = Self::new(database, Arc::clone(&self.trouble));
        Self { leases: Some(Arc::new(leases)), ..self }
    }

    /// For what must not wait behind everything else when the server is slow: a lease that is renewed too late is lost.
    pub(super) fn for_leases(&self) -> &Self {
        self.leases.as_deref().unwrap_or(self)
    }

    /// Runs a command that answers with one document.
    pub(super) async fn run(&self, name: &'static str, command: RawDocumentBuf) -> Result<Document, Fault> {
        self.run_within(PATIENCE, name, command).await
    }

    /// Runs a command that may take so long.
    pub(super) async fn run_within(
        &self,
        patience: Duration,
        name: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Document, Fault> {
        let database = self.database.clone();
        self.await_reply(patience, name, async move { Ok(database.run_raw_command(command).await?) }).await
    }

    /// Runs a command that answers with a cursor, and reads it to its end.
    pub(super) async fn query(
        &self,
        name: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>, Fault> {
        self.query_within(PATIENCE, name, command).await
    }

    pub(super) async fn query_within(
        &self,
        patience: Duration,
        name: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Vec<RawDocumentBuf>, Fault> {
        let database = self.database.clone();
        let read = async move {
            let mut cursor = database.run_raw_cursor_command(command).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.current().to_owned());
            }
            Ok(found)
        };
        self.await_reply(patience, name, read).await
    }

    /// A driver's future must not be dropped midway, whatever becomes of the caller: it runs as a task of its own.
    /// Source: the driver's README, "Cancellation safety".
    async fn await_reply<T: Send + 'static>(
        &self,
        patience: Duration,
        name: &'static str,
        call: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let call = tokio::spawn(COMMAND.scope(name, call));
        let outcome = match tokio::time::timeout(patience, call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(broken)) => Err(Fault::Corrupt(format!("a call of the driver broke off: {broken}"))),
            Err(_) => Err(Fault::TimedOut(patience)),
        };
        if outcome.as_ref().is_err_and(Fault::is_about_the_server) {
            self.trouble.notify_one();
        }
        outcome
    }

    /// Inserts documents, each on its own.
    pub(super) async fn insert(&self, collection: &str, documents: RawArrayBuf) -> Result<Written, Fault> {
        let mut command = rawdoc! { "insert": collection, "ordered": false };
        command.append(mongodb::bson::raw::cstr!("documents"), documents);
        self.write("insert", command).await
    }

    /// Carries out updates, each on its own.
    pub(super) async fn update(&self, collection: &str, updates: RawArrayBuf) -> Result<Written, Fault> {
        self.write("update", rawdoc! { "update": collection, "ordered": false, "updates": updates }).await
    }

    /// Deletes by these filters, each on its own; `limit` is 1 for one document, 0 for all that match.
    pub(super) async fn delete(
        &self,
        collection: &str,
        filters: impl IntoIterator<Item = RawDocumentBuf>,
        limit: i32,
    ) -> Result<u64, Fault> {
        let deletes: RawArrayBuf = filters.into_iter().map(|filter| rawdoc! { "q": filter, "limit": limit }).collect();
        let command = rawdoc! { "delete": collection, "ordered": false, "deletes": deletes };
        self.write("delete", command).await?.all()
    }

    async fn write(&self, name: &'static str, mut command: RawDocumentBuf) -> Result<Written, Fault> {
        let concern = rawdoc! { "w": "majority", "j": true, "wtimeout": WRITE_TIMEOUT_MS };
        command.append(mongodb::bson::raw::cstr!("writeConcern"), concern);
        let permit = self.breaker(|writes| writes.admit(Instant::now())).map_err(StoreError::unavailable)?;
        let written = self.run(name, command).await.and_then(|reply| Written::read(&reply));
        let outcome = match &written {
            Err(Fault::Unconfirmed(_)) => Outcome::Failed,
            Err(fault) if fault.is_about_the_server() => Outcome::Failed,
            Ok(_) | Err(_) => Outcome::Answered,
        };
        self.breaker(|writes| writes.hear(permit, outcome, Instant::now()));
        written
    }

    /// How the breaker around the writes stands.
    pub(super) fn writes(&self) -> Reading {
        self.breaker(|writes| writes.reading())
    }

    /// Closes it: what failed before counts no more.
    pub(super) fn forget_failures(&self) {
        self.breaker(Breaker::close);
        if let Some(leases) = &self.leases {
            leases.forget_failures();
        }
    }

    fn breaker<T>(&self, work: impl FnOnce(&mut Breaker) -> T) -> T {
        work(&mut self.writes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads documents.
    pub(super) async fn find(&self, find: Find<'_>) -> Result<Vec<RawDocumentBuf>, Fault> {
        self.query("find", find.command()).await
    }
}

/// A read.
#[derive(Clone)]
pub(super) struct Find<'a> {
    pub(super) collection: &'a str,
    pub(super) filter: RawDocumentBuf,
    /// Which fields; all when it is empty.
    pub(super) fields: RawDocumentBuf,
    pub(super) sort: RawDocumentBuf,
    /// The index to go by.
    pub(super) hint: Option<&'a str>,
    pub(super) skip: usize,
    /// At most so many; all without it.
    pub(super) limit: Option<usize>,
    pub(super) sees: Sees,
}

impl<'a> Find<'a> {
    pub(super) fn new(collection: &'a str, filter: RawDocumentBuf) -> Self {
        Self {
            collection,
            filter,
            fields: RawDocumentBuf::new(),
            sort: RawDocumentBuf::new(),
            hint: None,
            skip: 0,
            limit: None,
            sees: Sees::Latest,
        }
    }

    fn command(self) -> RawDocumentBuf {
        use mongodb::bson::raw::cstr;

        let mut command = rawdoc! { "find": self.collection, "filter": self.filter, "batchSize": ONE_BATCH };
        if !self.fields.is_empty() {
            command.append(cstr!("projection"), self.fields);
        }
        if !self.sort.is_empty() {
            command.append(cstr!("sort"), self.sort);
        }
        if let Some(index) = self.hint {
            command.append(cstr!("hint"), index);
        }
        if self.skip > 0 {
            command.append(cstr!("skip"), i64::try_from(self.skip).unwrap_or(i64::MAX));
        }
        if let Some(most) = self.limit {
            command.append(cstr!("limit"), i64::try_from(most).unwrap_or(i64::MAX));
        }
        bound(&mut command, self.sees);
        command
    }
}

/// Bounds a read in time, and says what it has to see.
pub(super) fn bound(command: &mut RawDocumentBuf, sees: Sees) {
    use mongodb::bson::raw::cstr;

    command.append(cstr!("maxTimeMS"), READ_TIMEOUT_MS);
    let level = match sees {
        Sees::Latest => "local",
        Sees::Majority => "majority",
    };
    command.append(cstr!("readConcern"), rawdoc! { "level": level });
}

/// The documents with these ids.
pub(super) fn among<'a>(ids: impl IntoIterator<Item = &'a str>) -> RawDocumentBuf {
    rawdoc! { "$in": ids.into_iter().collect::<RawArrayBuf>() }
}

/// The id of a document that was read.
pub(super) fn id(document: &RawDocument) -> Result<&str, Fault> {
    document.get_str("_id").map_err(Fault::from)
}
