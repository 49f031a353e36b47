//! What the store offers, handed to the thread that does it.

use async_trait::async_trait;
use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, LeaderRecord, LeaseId, Part, QueueName, State, Tenant, Timestamp,
    breaker::{self, Reading},
    http::LogLine,
    job::{Change, Job, JobKey, Lane, NewJob},
};
use serde_json::Value;

use super::{SqliteStore, blobs, counts, jobs_read, jobs_write, list, logs, records};
use crate::{
    BlobStore, Claim, Claimed, DueScan, Found, Inserted, JobStore, Kind, ListQuery, Page, QueueCounts, RecordStore,
    Removal, Renewal, StoreError,
};

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, jobs: Vec<NewJob>) -> Result<Vec<Inserted>, StoreError> {
        let bytes = jobs_write::inline_bytes(jobs.iter().flat_map(|new| [&new.payload].into_iter().chain(&new.text)));
        self.writer.write(bytes, move |session| jobs_write::insert(session, &jobs)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        self.writer.write(0, move |session| jobs_write::claim(session, &claim)).await
    }

    async fn held(&self, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, StoreError> {
        let keys = keys.to_vec();
        self.writer.write(0, move |session| jobs_write::held(&session.conn, lease, &keys)).await
    }

    async fn renew(&self, held: &[(JobKey, LeaseId)], until: Timestamp) -> Result<Vec<Renewal>, StoreError> {
        let held = held.to_vec();
        self.writer.write(0, move |session| jobs_write::renew(&session.conn, &held, until)).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Option<Job>>, StoreError> {
        let bytes =
            jobs_write::inline_bytes(changes.iter().flat_map(|change| change.payload.iter().chain(&change.result)));
        self.writer.write(bytes, move |session| jobs_write::apply(session, changes)).await
    }

    async fn get(&self, key: &JobKey) -> Result<Option<Found>, StoreError> {
        let key = key.clone();
        self.points.read(move |conn| jobs_read::get(conn, &key)).await
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<Option<Job>>, StoreError> {
        let keys = keys.to_vec();
        self.points.read(move |conn| jobs_read::jobs(conn, &keys)).await
    }

    async fn body(&self, key: &JobKey, part: Part) -> Result<Option<Body>, StoreError> {
        let key = key.clone();
        self.points.read(move |conn| jobs_read::body(conn, &key, part)).await
    }

    async fn waiting(&self, keys: &[JobKey]) -> Result<Vec<Job>, StoreError> {
        let keys = keys.to_vec();
        self.points.read(move |conn| jobs_read::waiting(conn, &keys)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let query = query.clone();
        self.scans.read(move |conn| list::list(conn, &query)).await
    }

    async fn due(&self, scan: &DueScan) -> Result<Vec<Job>, StoreError> {
        let scan = scan.clone();
        self.points.read(move |conn| jobs_read::due(conn, &scan)).await
    }

    async fn count_from(&self, state: State, from: Timestamp) -> Result<u64, StoreError> {
        self.scans.read(move |conn| jobs_read::count_from(conn, state, from)).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.points.read(move |conn| jobs_read::overdue(conn, now, limit)).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        self.points.read(jobs_read::lanes).await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<bool>, StoreError> {
        let removals = removals.to_vec();
        self.writer.write(0, move |session| jobs_write::remove(session, &removals)).await
    }

    async fn append_logs(&self, lines: Vec<(JobKey, LogLine)>) -> Result<(), StoreError> {
        let bytes = lines.iter().map(|(_, line)| line.message.len()).sum();
        self.writer.write(bytes, move |session| logs::append(&session.conn, &lines)).await
    }

    async fn logs(&self, key: &JobKey) -> Result<Vec<LogLine>, StoreError> {
        let key = key.clone();
        self.scans.read(move |conn| logs::read(conn, &key)).await
    }

    async fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, StoreError> {
        let tenant = tenant.cloned();
        self.scans.read(move |conn| counts::read(conn, tenant.as_ref())).await
    }

    async fn oldest_waiting(&self, queue: &QueueName) -> Result<Option<Timestamp>, StoreError> {
        let queue = queue.clone();
        self.scans.read(move |conn| jobs_read::oldest_waiting(conn, &queue)).await
    }
}

#[async_trait]
impl BlobStore for SqliteStore {
    async fn begin_blob(&self, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), StoreError> {
        let owner = owner.clone();
        self.writer.write(0, move |session| blobs::begin(&session.conn, id, &owner, expires)).await
    }

    async fn append_blob(&self, id: BlobId, chunk: Bytes, expires: Timestamp) -> Result<bool, StoreError> {
        self.writer.write(chunk.len(), move |session| blobs::append(&session.conn, id, &chunk, expires)).await
    }

    async fn commit_blob(&self, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, StoreError> {
        self.writer.write(0, move |session| blobs::commit(&session.conn, id, now)).await
    }

    async fn read_blob(&self, id: BlobId, from: u64) -> Result<Option<Bytes>, StoreError> {
        self.points.read(move |conn| blobs::read(conn, id, from)).await
    }

    async fn drop_blobs(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.writer.write(0, move |session| blobs::drop_all(&session.conn, &ids)).await
    }

    async fn collect_blobs(
        &self,
        now: Timestamp,
        orphaned_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let collected =
            self.writer.write(0, move |session| blobs::collect(&session.conn, now, orphaned_before, limit)).await?;
        self.sweep().await;
        Ok(collected)
    }
}

#[async_trait]
impl RecordStore for SqliteStore {
    async fn put_record(&self, kind: Kind, name: &str, record: Value) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer.write(0, move |session| records::put(&session.conn, kind, &name, &record)).await
    }

    async fn add_record(&self, kind: Kind, name: &str, record: Value) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.writer.write(0, move |session| records::add(&session.conn, kind, &name, &record)).await
    }

    async fn replace_record(
        &self,
        kind: Kind,
        name: &str,
        expected: &Value,
        record: Value,
    ) -> Result<bool, StoreError> {
        let (name, expected) = (name.to_owned(), expected.clone());
        self.writer.write(0, move |session| records::replace(&session.conn, kind, &name, &expected, &record)).await
    }

    async fn records(&self, kind: Kind) -> Result<Vec<Value>, StoreError> {
        self.points.read(move |conn| records::of_kind(conn, kind)).await
    }

    async fn drop_record(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer.write(0, move |session| records::drop_one(&session.conn, kind, &name)).await
    }

    async fn lead(&self, record: LeaderRecord, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.write(0, move |session| records::lead(&session.conn, &record, now)).await
    }

    async fn leader(&self) -> Result<Option<LeaderRecord>, StoreError> {
        self.points.read(records::leader).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if !self.writer.is_running() {
            return Err(StoreError::unavailable(std::io::Error::other("the store's writer has stopped")));
        }
        self.points.read(|conn| Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    fn breaker(&self) -> Reading {
        match self.writer.is_running() {
            true => Reading::default(),
            false => Reading { state: breaker::State::Open, opened: 1 },
        }
    }
}
