//! What the store offers, handed to the part that does it.

use async_trait::async_trait;
use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, LeaderRecord, LeaseId, Part, QueueName, State, Tenant, Timestamp,
    breaker::Reading,
    http::LogLine,
    job::{Change, Job, JobKey, Lane, NewJob},
};
use mongodb::bson::rawdoc;
use serde_json::Value;

use super::{MongoStore, apply, blobs, claim, insert, jobs_read, list, logs, records, remove};
use crate::{
    BlobStore, Claim, Claimed, DueScan, Found, Inserted, JobStore, Kind, ListQuery, Page, QueueCounts, RecordStore,
    Removal, Renewal, StoreError,
};

#[async_trait]
impl JobStore for MongoStore {
    async fn insert(&self, jobs: Vec<NewJob>) -> Result<Vec<Inserted>, StoreError> {
        insert::insert(self, jobs).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        let claimed = claim::claim(&self.link.server()?, &claim).await?;
        self.known.remember(claimed.iter().map(|claimed| &claimed.job));
        Ok(claimed)
    }

    async fn held(&self, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, StoreError> {
        Ok(claim::held(&self.link.server()?, lease, keys).await?)
    }

    async fn renew(&self, held: &[(JobKey, LeaseId)], until: Timestamp) -> Result<Vec<Renewal>, StoreError> {
        Ok(claim::renew(self.link.server()?.for_leases(), held, until).await?)
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Option<Job>>, StoreError> {
        apply::apply(self, changes).await
    }

    async fn get(&self, key: &JobKey) -> Result<Option<Found>, StoreError> {
        Ok(jobs_read::get(&self.link.server()?, key).await?)
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<Option<Job>>, StoreError> {
        Ok(jobs_read::jobs(&self.link.server()?, keys).await?)
    }

    async fn body(&self, key: &JobKey, part: Part) -> Result<Option<Body>, StoreError> {
        Ok(jobs_read::body(&self.link.server()?, key, part).await?)
    }

    async fn waiting(&self, keys: &[JobKey]) -> Result<Vec<Job>, StoreError> {
        Ok(jobs_read::waiting(&self.link.server()?, keys).await?)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        Ok(list::list(&self.link.server()?, query).await?)
    }

    async fn due(&self, scan: &DueScan) -> Result<Vec<Job>, StoreError> {
        Ok(jobs_read::due(&self.link.server()?, scan).await?)
    }

    async fn count_from(&self, state: State, from: Timestamp) -> Result<u64, StoreError> {
        Ok(jobs_read::count_from(&self.link.server()?, state, from).await?)
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        Ok(jobs_read::overdue(&self.link.server()?, now, limit).await?)
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        Ok(jobs_read::lanes(&self.link.server()?).await?)
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<bool>, StoreError> {
        Ok(remove::remove(&self.link.server()?, removals).await?)
    }

    async fn append_logs(&self, lines: Vec<(JobKey, LogLine)>) -> Result<(), StoreError> {
        self.lines.write(vec![lines]).await.map(drop)
    }

    async fn logs(&self, key: &JobKey) -> Result<Vec<LogLine>, StoreError> {
        Ok(logs::read(&self.link.server()?, key).await?)
    }

    async fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, StoreError> {
        Ok(self.counts.read(&self.link, tenant).await?)
    }

    async fn oldest_waiting(&self, queue: &QueueName) -> Result<Option<Timestamp>, StoreError> {
        Ok(jobs_read::oldest_waiting(&self.link.server()?, queue).await?)
    }
}

#[async_trait]
impl BlobStore for MongoStore {
    async fn begin_blob(&self, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), StoreError> {
        Ok(blobs::begin(&self.link.server()?, id, owner, expires).await?)
    }

    async fn append_blob(&self, id: BlobId, chunk: Bytes, expires: Timestamp) -> Result<bool, StoreError> {
        Ok(blobs::append(&self.link.server()?, id, &chunk, expires).await?)
    }

    async fn commit_blob(&self, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, StoreError> {
        Ok(blobs::commit(&self.link.server()?, id, now).await?)
    }

    async fn read_blob(&self, id: BlobId, from: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(blobs::read(&self.link.server()?, id, from).await?)
    }

    async fn drop_blobs(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        Ok(blobs::drop_all(&self.link.server()?, ids).await?)
    }

    async fn collect_blobs(
        &self,
        now: Timestamp,
        orphaned_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        Ok(blobs::collect(&self.link.server()?, now, orphaned_before, limit).await?)
    }
}

#[async_trait]
impl RecordStore for MongoStore {
    async fn put_record(&self, kind: Kind, name: &str, record: Value) -> Result<(), StoreError> {
        Ok(records::put(&self.link.server()?, kind, name, &record).await?)
    }

    async fn add_record(&self, kind: Kind, name: &str, record: Value) -> Result<bool, StoreError> {
        Ok(records::add(&self.link.server()?, kind, name, &record).await?)
    }

    async fn replace_record(
        &self,
        kind: Kind,
        name: &str,
        expected: &Value,
        record: Value,
    ) -> Result<bool, StoreError> {
        Ok(records::replace(&self.link.server()?, kind, name, expected, &record).await?)
    }

    async fn records(&self, kind: Kind) -> Result<Vec<Value>, StoreError> {
        Ok(records::of_kind(&self.link.server()?, kind).await?)
    }

    async fn drop_record(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        Ok(records::drop_one(&self.link.server()?, kind, name).await?)
    }

    async fn lead(&self, record: LeaderRecord, now: Timestamp) -> Result<bool, StoreError> {
        Ok(records::lead(self.link.server()?.for_leases(), &record, now).await?)
    }

    async fn leader(&self) -> Result<Option<LeaderRecord>, StoreError> {
        Ok(records::leader(&self.link.server()?).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.link.server()?.run("ping", rawdoc! { "ping": 1 }).await?;
        Ok(())
    }

    fn breaker(&self) -> Reading {
        self.link.breaker()
    }
}
