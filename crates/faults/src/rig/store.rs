//! A store whose calls are refused, come late, or are carried out without an answer, as a mood says. Everything else is
//! the store behind it.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, Clock, Job, LeaderRecord, LeaseId, Part, QueueName, State, Tenant, Timestamp,
    http::LogLine,
    job::{Change, JobKey, Lane, NewJob},
};
use gristmill_storage::{
    ArchiveStore, BlobStore, Claim, Claimed, DueScan, Found, Inserted, JobStore, Kind, ListQuery, Page, QueueCounts,
    RecordStore, Register, RegisterKey, RegisterStore, Removal, Renewal, Restored, Space, Store, StoreError, Swap,
    Whole,
};
use serde_json::Value;

use super::mood::Mood;
use crate::witness::Witness;

/// A store in a mood.
pub(crate) struct FaultyStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mood: Arc<Mood>,
    /// The clock of the node whose store it is.
    pub(crate) clock: Clock,
    /// Sees the claims.
    pub(crate) witness: Witness,
}

/// Why a call failed.
#[derive(Debug)]
struct OnPurpose;

impl std::fmt::Display for OnPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed on purpose")
    }
}

impl std::error::Error for OnPurpose {}

type Answer<T> = Result<T, StoreError>;

impl FaultyStore {
    async fn ask<T>(&self, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        self.mood.around(call, || StoreError::unavailable(OnPurpose)).await
    }
}

#[async_trait]
impl JobStore for FaultyStore {
    async fn insert(&self, jobs: Vec<NewJob>) -> Answer<Vec<Inserted>> {
        self.ask(self.store.insert(jobs)).await
    }

    async fn claim(&self, claim: Claim) -> Answer<Vec<Claimed>> {
        let lease = claim.lease;
        let before = self.clock.now().since(claim.now);
        let began = Instant::now().checked_sub(before).unwrap_or_else(Instant::now);
        let seen = async {
            self.witness.asks_for(claim.keys.iter().map(|key| key.id), lease, began);
            let claimed = self.store.claim(claim).await?;
            claimed.iter().for_each(|claimed| self.witness.got(claimed.job.key.id, lease));
            Ok(claimed)
        };
        self.ask(seen).await
    }

    async fn held(&self, lease: LeaseId, keys: &[JobKey]) -> Answer<Vec<Claimed>> {
        self.ask(self.store.held(lease, keys)).await
    }

    async fn renew(&self, held: &[(JobKey, LeaseId)], until: Timestamp) -> Answer<Vec<Renewal>> {
        self.ask(self.store.renew(held, until)).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Answer<Vec<Option<Job>>> {
        self.ask(self.store.apply(changes)).await
    }

    async fn get(&self, key: &JobKey) -> Answer<Option<Found>> {
        self.ask(self.store.get(key)).await
    }

    async fn jobs(&self, keys: &[JobKey]) -> Answer<Vec<Option<Job>>> {
        self.ask(self.store.jobs(keys)).await
    }

    async fn body(&self, key: &JobKey, part: Part) -> Answer<Option<Body>> {
        self.ask(self.store.body(key, part)).await
    }

    async fn waiting(&self, keys: &[JobKey]) -> Answer<Vec<Job>> {
        self.ask(self.store.waiting(keys)).await
    }

    async fn list(&self, query: &ListQuery) -> Answer<Page> {
        self.ask(self.store.list(query)).await
    }

    async fn due(&self, scan: &DueScan) -> Answer<Vec<Job>> {
        self.ask(self.store.due(scan)).await
    }

    async fn count_from(&self, state: State, from: Timestamp) -> Answer<u64> {
        self.ask(self.store.count_from(state, from)).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Answer<Vec<Job>> {
        self.ask(self.store.overdue(now, limit)).await
    }

    async fn lanes(&self) -> Answer<Vec<Lane>> {
        self.ask(self.store.lanes()).await
    }

    async fn remove(&self, removals: &[Removal]) -> Answer<Vec<bool>> {
        self.ask(self.store.remove(removals)).await
    }

    async fn append_logs(&self, lines: Vec<(JobKey, LogLine)>) -> Answer<()> {
        self.ask(self.store.append_logs(lines)).await
    }

    async fn logs(&self, key: &JobKey) -> Answer<Vec<LogLine>> {
        self.ask(self.store.logs(key)).await
    }

    async fn counts(&self, tenant: Option<&Tenant>) -> Answer<Vec<QueueCounts>> {
        self.ask(self.store.counts(tenant)).await
    }

    async fn oldest_waiting(&self, queue: &QueueName) -> Answer<Option<Timestamp>> {
        self.ask(self.store.oldest_waiting(queue)).await
    }
}

#[async_trait]
impl BlobStore for FaultyStore {
    async fn begin_blob(&self, id: BlobId, owner: &JobKey, expires: Timestamp) -> Answer<()> {
        self.ask(self.store.begin_blob(id, owner, expires)).await
    }

    async fn append_blob(&self, id: BlobId, chunk: Bytes, expires: Timestamp) -> Answer<bool> {
        self.ask(self.store.append_blob(id, chunk, expires)).await
    }

    async fn commit_blob(&self, id: BlobId, now: Timestamp) -> Answer<Option<BlobRef>> {
        self.ask(self.store.commit_blob(id, now)).await
    }

    async fn read_blob(&self, id: BlobId, from: u64) -> Answer<Option<Bytes>> {
        self.ask(self.store.read_blob(id, from)).await
    }

    async fn drop_blobs(&self, ids: &[BlobId]) -> Answer<()> {
        self.ask(self.store.drop_blobs(ids)).await
    }

    async fn collect_blobs(&self, now: Timestamp, orphaned_before: Timestamp, limit: usize) -> Answer<usize> {
        self.ask(self.store.collect_blobs(now, orphaned_before, limit)).await
    }
}

#[async_trait]
impl RecordStore for FaultyStore {
    async fn put_record(&self, kind: Kind, name: &str, record: Value) -> Answer<()> {
        self.ask(self.store.put_record(kind, name, record)).await
    }

    async fn add_record(&self, kind: Kind, name: &str, record: Value) -> Answer<bool> {
        self.ask(self.store.add_record(kind, name, record)).await
    }

    async fn replace_record(&self, kind: Kind, name: &str, expected: &Value, record: Value) -> Answer<bool> {
        self.ask(self.store.replace_record(kind, name, expected, record)).await
    }

    async fn records(&self, kind: Kind) -> Answer<Vec<Value>> {
        self.ask(self.store.records(kind)).await
    }

    async fn drop_record(&self, kind: Kind, name: &str) -> Answer<()> {
        self.ask(self.store.drop_record(kind, name)).await
    }

    async fn lead(&self, record: LeaderRecord, now: Timestamp) -> Answer<bool> {
        self.ask(self.store.lead(record, now)).await
    }

    async fn leader(&self) -> Answer<Option<LeaderRecord>> {
        self.ask(self.store.leader()).await
    }

    async fn ping(&self) -> Answer<()> {
        self.ask(self.store.ping()).await
    }
}

#[async_trait]
impl RegisterStore for FaultyStore {
    async fn registers(&self, keys: &[RegisterKey]) -> Answer<Vec<Option<Register>>> {
        self.ask(self.store.registers(keys)).await
    }

    async fn swap(&self, swaps: Vec<Swap>) -> Answer<Vec<bool>> {
        self.ask(self.store.swap(swaps)).await
    }

    async fn due_registers(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, RegisterKey)>,
        limit: usize,
    ) -> Answer<Vec<Register>> {
        self.ask(self.store.due_registers(until, after, limit)).await
    }

    async fn list_registers(
        &self,
        space: Space,
        tenant: Option<&Tenant>,
        after: Option<&RegisterKey>,
        limit: usize,
    ) -> Answer<Vec<Register>> {
        self.ask(self.store.list_registers(space, tenant, after, limit)).await
    }
}

#[async_trait]
impl ArchiveStore for FaultyStore {
    async fn walk(&self, after: Option<&JobKey>, limit: usize) -> Answer<Vec<Whole>> {
        self.ask(self.store.walk(after, limit)).await
    }

    async fn whole(&self, keys: &[JobKey]) -> Answer<Vec<Option<Whole>>> {
        self.ask(self.store.whole(keys)).await
    }

    async fn restore(&self, jobs: Vec<Whole>) -> Answer<Vec<Restored>> {
        self.ask(self.store.restore(jobs)).await
    }
}
