//! A store that counts its calls, and does more beside them if it is told to.

#![allow(dead_code, unreachable_pub, reason = "as all that supports tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use gristmill_common::{
    BlobId, BlobRef, Body, LeaderRecord, LeaseId, Part, QueueName, State, Tenant, Timestamp,
    http::LogLine,
    job::{Change, Job, JobKey, Lane, NewJob},
};
use gristmill_storage::{
    ArchiveStore, BlobStore, Claim, Claimed, DueScan, Found, Inserted, JobStore, Kind, ListQuery, Page, QueueCounts,
    RecordStore, Register, RegisterKey, RegisterStore, Removal, Renewal, Restored, Space, Store, StoreError, Swap,
    Whole,
};
use serde_json::Value;

type Hook = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

pub struct Counted {
    store: Arc<dyn Store>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    told: AtomicUsize,
    after_insert: OnceLock<Hook>,
    unreadable: Mutex<BTreeSet<JobKey>>,
}

impl Counted {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (calls, told, after_insert, unreadable) = Default::default();
        Self { store, calls, told, after_insert, unreadable }
    }

    /// Does this after each insert, before it is answered.
    pub fn after_insert(&self, hook: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        assert!(self.after_insert.set(Box::new(hook)).is_ok(), "it has one already");
    }

    /// This job cannot be read.
    pub fn spoil(&self, key: &JobKey) {
        self.unreadable.lock().expect("no panic").insert(key.clone());
    }

    /// How often each was called.
    pub fn all(&self) -> BTreeMap<&'static str, usize> {
        self.calls.lock().expect("no panic").clone()
    }

    /// How often this was called.
    pub fn calls(&self, name: &str) -> usize {
        self.calls.lock().expect("no panic").get(name).copied().unwrap_or(0)
    }

    /// How many jobs and registers were told to be due.
    pub fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }

    fn count(&self, name: &'static str) {
        *self.calls.lock().expect("no panic").entry(name).or_default() += 1;
    }
}

#[async_trait]
impl JobStore for Counted {
    async fn insert(&self, jobs: Vec<NewJob>) -> Result<Vec<Inserted>, StoreError> {
        self.count("insert");
        let outcome = self.store.insert(jobs).await;
        if let Some(hook) = self.after_insert.get() {
            hook().await;
        }
        outcome
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        self.count("claim");
        self.store.claim(claim).await
    }

    async fn held(&self, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, StoreError> {
        self.count("held");
        self.store.held(lease, keys).await
    }

    async fn renew(&self, held: &[(JobKey, LeaseId)], until: Timestamp) -> Result<Vec<Renewal>, StoreError> {
        self.count("renew");
        self.store.renew(held, until).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Option<Job>>, StoreError> {
        self.count("apply");
        self.store.apply(changes).await
    }

    async fn get(&self, key: &JobKey) -> Result<Option<Found>, StoreError> {
        self.count("get");
        self.store.get(key).await
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<Option<Job>>, StoreError> {
        self.count("jobs");
        let is_spoilt = {
            let unreadable = self.unreadable.lock().expect("no panic");
            keys.iter().any(|key| unreadable.contains(key))
        };
        if is_spoilt {
            return Err(StoreError::Corrupt("on purpose".into()));
        }
        self.store.jobs(keys).await
    }

    async fn body(&self, key: &JobKey, part: Part) -> Result<Option<Body>, StoreError> {
        self.count("body");
        self.store.body(key, part).await
    }

    async fn waiting(&self, keys: &[JobKey]) -> Result<Vec<Job>, StoreError> {
        self.count("waiting");
        self.store.waiting(keys).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.count("list");
        self.store.list(query).await
    }

    async fn due(&self, scan: &DueScan) -> Result<Vec<Job>, StoreError> {
        self.count("due");
        let told = self.store.due(scan).await?;
        self.told.fetch_add(told.len(), Ordering::Relaxed);
        Ok(told)
    }

    async fn count_from(&self, state: State, from: Timestamp) -> Result<u64, StoreError> {
        self.count("count_from");
        self.store.count_from(state, from).await
    }

    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.count("overdue");
        let told = self.store.overdue(now, limit).await?;
        self.told.fetch_add(told.len(), Ordering::Relaxed);
        Ok(told)
    }

    async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        self.count("lanes");
        self.store.lanes().await
    }

    async fn remove(&self, removals: &[Removal]) -> Result<Vec<bool>, StoreError> {
        self.count("remove");
        self.store.remove(removals).await
    }

    async fn append_logs(&self, lines: Vec<(JobKey, LogLine)>) -> Result<(), StoreError> {
        self.count("append_logs");
        self.store.append_logs(lines).await
    }

    async fn logs(&self, key: &JobKey) -> Result<Vec<LogLine>, StoreError> {
        self.count("logs");
        self.store.logs(key).await
    }

    async fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, StoreError> {
        self.count("counts");
        self.store.counts(tenant).await
    }

    async fn oldest_waiting(&self, queue: &QueueName) -> Result<Option<Timestamp>, StoreError> {
        self.count("oldest_waiting");
        self.store.oldest_waiting(queue).await
    }
}

#[async_trait]
impl BlobStore for Counted {
    async fn begin_blob(&self, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), StoreError> {
        self.count("begin_blob");
        self.store.begin_blob(id, owner, expires).await
    }

    async fn append_blob(&self, id: BlobId, chunk: Bytes, expires: Timestamp) -> Result<bool, StoreError> {
        self.count("append_blob");
        self.store.append_blob(id, chunk, expires).await
    }

    async fn commit_blob(&self, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, StoreError> {
        self.count("commit_blob");
        self.store.commit_blob(id, now).await
    }

    async fn read_blob(&self, id: BlobId, from: u64) -> Result<Option<Bytes>, StoreError> {
        self.count("read_blob");
        self.store.read_blob(id, from).await
    }

    async fn drop_blobs(&self, ids: &[BlobId]) -> Result<(), StoreError> {
        self.count("drop_blobs");
        self.store.drop_blobs(ids).await
    }

    async fn collect_blobs(
        &self,
        now: Timestamp,
        orphaned_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.count("collect_blobs");
        self.store.collect_blobs(now, orphaned_before, limit).await
    }
}

#[async_trait]
impl RecordStore for Counted {
    async fn put_record(&self, kind: Kind, name: &str, record: Value) -> Result<(), StoreError> {
        self.count("put_record");
        self.store.put_record(kind, name, record).await
    }

    async fn add_record(&self, kind: Kind, name: &str, record: Value) -> Result<bool, StoreError> {
        self.count("add_record");
        self.store.add_record(kind, name, record).await
    }

    async fn replace_record(
        &self,
        kind: Kind,
        name: &str,
        expected: &Value,
        record: Value,
    ) -> Result<bool, StoreError> {
        self.count("replace_record");
        self.store.replace_record(kind, name, expected, record).await
    }

    async fn records(&self, kind: Kind) -> Result<Vec<Value>, StoreError> {
        self.count("records");
        self.store.records(kind).await
    }

    async fn drop_record(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        self.count("drop_record");
        self.store.drop_record(kind, name).await
    }

    async fn lead(&self, record: LeaderRecord, now: Timestamp) -> Result<bool, StoreError> {
        self.count("lead");
        self.store.lead(record, now).await
    }

    async fn leader(&self) -> Result<Option<LeaderRecord>, StoreError> {
        self.count("leader");
        self.store.leader().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.count("ping");
        self.store.ping().await
    }
}

#[async_trait]
impl RegisterStore for Counted {
    async fn registers(&self, keys: &[RegisterKey]) -> Result<Vec<Option<Register>>, StoreError> {
        self.count("registers");
        self.store.registers(keys).await
    }

    async fn swap(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, StoreError> {
        self.count("swap");
        self.store.swap(swaps).await
    }

    async fn due_registers(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, RegisterKey)>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError> {
        self.count("due_registers");
        let told = self.store.due_registers(until, after, limit).await?;
        self.told.fetch_add(told.len(), Ordering::Relaxed);
        Ok(told)
    }

    async fn list_registers(
        &self,
        space: Space,
        tenant: Option<&Tenant>,
        after: Option<&RegisterKey>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError> {
        self.count("list_registers");
        self.store.list_registers(space, tenant, after, limit).await
    }
}

#[async_trait]
impl ArchiveStore for Counted {
    async fn walk(&self, after: Option<&JobKey>, limit: usize) -> Result<Vec<Whole>, StoreError> {
        self.count("walk");
        self.store.walk(after, limit).await
    }

    async fn whole(&self, keys: &[JobKey]) -> Result<Vec<Option<Whole>>, StoreError> {
        self.count("whole");
        self.store.whole(keys).await
    }

    async fn restore(&self, jobs: Vec<Whole>) -> Result<Vec<Restored>, StoreError> {
        self.count("restore");
        self.store.restore(jobs).await
    }
}
