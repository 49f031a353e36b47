//! Replies that are lost after the server has done what it was asked: every call answers that nobody knows, and there
//! is a way to find out. The proxy cuts the reply off; what the store does then goes the same way.

use std::sync::Arc;

use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, Clock, LeaderRecord, Part, State, WorkerId,
    http::LogLine,
    job::{Change, Guard, Job, JobKey, Limits, NewJob},
};
use gristmill_storage::{
    Expect, Inserted, Kind, RegisterKey, Removal, Renewal, Space, Store, StoreError, Swap,
    conformance::{at, claim_of, get, insert, job, succeed, text},
};
use gristmill_testkit::{Manner, Proxy};
use serde_json::json;

use crate::place::{Place, answers, host, open};

/// A store behind a proxy.
struct Lossy {
    place: Place,
    proxy: Proxy,
    store: Arc<dyn Store>,
}

impl Lossy {
    async fn new() -> Self {
        let place = Place::new();
        let proxy = Proxy::start(host()).await.expect("a proxy");
        let store = open(&place.url_by(proxy.address()), &Clock::start()).await;
        Self { place, proxy, store }
    }

    /// Makes a call whose command of this name is carried out, and its reply lost after some bytes.
    async fn lose<T>(
        &mut self,
        command: &str,
        after: usize,
        call: impl AsyncFnOnce(&dyn Store) -> Result<T, StoreError>,
    ) {
        // The supervisor reads the schema whenever it likes.
        let collection = if command == "find" { "jobs" } else { "" };
        self.lose_from(collection, command, after, call).await;
    }

    /// The same, for a command about this collection.
    async fn lose_from<T>(
        &mut self,
        collection: &str,
        command: &str,
        after: usize,
        call: impl AsyncFnOnce(&dyn Store) -> Result<T, StoreError>,
    ) {
        let cuts = self.proxy.cuts();
        // A command's name is the key of its first element, and the collection its value.
        let mut needle = [b"\x02", command.as_bytes(), b"\0"].concat();
        if !collection.is_empty() {
            needle.extend_from_slice(&(collection.len() as u32 + 1).to_le_bytes());
            needle.extend_from_slice(&[collection.as_bytes(), b"\0"].concat());
        }
        self.proxy.cut_reply(needle, after);
        match call(&*self.store).await {
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{command}: {other:?}"),
            Ok(_) => panic!("{command}: there is no answer to be had"),
        }
        assert_eq!(self.proxy.cuts(), cuts + 1, "{command}: the reply was cut off");
        // The driver may yet close connections beside the one that was cut off, so the call after this goes by others.
        self.store = open(&self.place.url_by(self.proxy.address()), &Clock::start()).await;
    }

    async fn running(&self) -> Job {
        let new = job(at(0));
        let key = new.job.key.clone();
        insert(&self.store, [new]).await;
        self.store.claim(claim_of(&[key], at(1))).await.expect("a claim").remove(0).job
    }

    /// Has the store need to read the job back: it looks once at what it knows of a job that it has claimed.
    async fn forget(&self, job: &Job) {
        let stale = Change { guard: Guard { claims: Some(99), ..Guard::state(job.state) }, ..succeed(job, at(2)) };
        assert_eq!(self.store.apply(vec![stale]).await.expect("an answer"), [None]);
    }

    async fn upload(&self, owner: &JobKey) -> BlobId {
        let id = BlobId::fresh();
        self.store.begin_blob(id, owner, at(1_000)).await.expect("a blob");
        assert!(self.store.append_blob(id, Bytes::from_static(b"once "), at(1_000)).await.expect("an answer"));
        id
    }

    async fn read(&self, id: BlobId) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(chunk) = self.store.read_blob(id, read.len() as u64).await.expect("an answer") {
            read.extend_from_slice(&chunk);
        }
        read
    }
}

/// Nothing of the reply arrives, or a part of it.
const PARTS: [usize; 3] = [0, 1, 20];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_whose_reply_was_lost_is_found_by_inserting_again() {
    let mut lossy = Lossy::new().await;
    for after in PARTS {
        let new = job(at(0));
        lossy.lose("insert", after, async |store| store.insert(vec![new.clone()]).await).await;
        let again = lossy.store.insert(vec![new.clone()]).await.expect("an answer");
        assert!(matches!(&again[..], [Inserted::Exists(found)] if *found == new.job), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_whose_reading_back_was_lost_is_told_the_next_time() {
    let mut lossy = Lossy::new().await;
    let new = job(at(0));
    insert(&lossy.store, [new.clone()]).await;
    lossy.lose("find", 0, async |store| store.insert(vec![new.clone()]).await).await;
    let again = lossy.store.insert(vec![new.clone()]).await.expect("an answer");
    assert!(matches!(&again[..], [Inserted::Exists(found)] if *found == new.job), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_reply_was_lost_is_held() {
    let mut lossy = Lossy::new().await;
    // The reply to the write is lost, or the reply to the reading back.
    for (command, after) in PARTS.map(|after| ("update", after)).into_iter().chain([("find", 0)]) {
        let new = job(at(0));
        let key = new.job.key.clone();
        insert(&lossy.store, [new]).await;
        let claim = claim_of(std::slice::from_ref(&key), at(1));
        let lease = claim.lease;
        lossy.lose(command, after, async |store| store.claim(claim.clone()).await).await;
        let held = lossy.store.held(lease, std::slice::from_ref(&key)).await.expect("an answer");
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].job.state, held[0].job.claims, held[0].payload.clone()), (State::Running, 1, text("{}")));
        assert!(lossy.store.claim(claim_of(&[key], at(2))).await.expect("an answer").is_empty(), "nobody else has it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settle_whose_reply_was_lost_is_known_by_its_lease() {
    let mut lossy = Lossy::new().await;
    for (command, after) in PARTS.map(|after| ("update", after)).into_iter().chain([("find", 0)]) {
        let mine = lossy.running().await;
        if command == "find" {
            lossy.forget(&mine).await;
        }
        let settle = succeed(&mine, at(2));
        lossy.lose(command, after, async |store| store.apply(vec![settle.clone()]).await).await;
        assert_eq!(lossy.store.apply(vec![settle.clone()]).await.expect("an answer"), [None]);
        let settled = get(&lossy.store, &mine.key).await;
        assert_eq!((settled.state, settled.settled_by), (State::Succeeded, mine.lease));
        let mut expected = mine.clone();
        assert!(settle.apply(&mut expected));
        assert_eq!(settled, expected, "it was applied once");
        assert_eq!(lossy.store.body(&mine.key, Part::Result).await.expect("an answer"), Some(text("null")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_put_off_whose_reply_was_lost_has_the_payload_and_the_time() {
    let mut lossy = Lossy::new().await;
    // The reply to the write is lost, or the reply to the reading back.
    for (command, after) in PARTS.map(|after| ("update", after)).into_iter().chain([("find", 0)]) {
        let mut new = job(at(0));
        new.job.state = State::Scheduled;
        let key = new.job.key.clone();
        insert(&lossy.store, [new.clone()]).await;
        let change = new.job.put_off(text("\"last\""), at(10)).expect("it is scheduled");
        lossy.lose(command, after, async |store| store.apply(vec![change.clone()]).await).await;
        assert_eq!(lossy.store.apply(vec![change.clone()]).await.expect("an answer"), [None], "it is made once");
        let mut expected = new.job;
        assert!(change.apply(&mut expected));
        assert_eq!(get(&lossy.store, &key).await, expected);
        assert_eq!(lossy.store.body(&key, Part::Payload).await.expect("an answer"), Some(text("\"last\"")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_whose_reply_was_lost_holds() {
    let mut lossy = Lossy::new().await;
    let mine = lossy.running().await;
    let held = [(mine.key.clone(), mine.lease.expect("a lease"))];
    lossy.lose("update", 0, async |store| store.renew(&held, at(20_000)).await).await;
    assert_eq!(get(&lossy.store, &mine.key).await.wake_at, at(20_000));
    assert_eq!(lossy.store.renew(&held, at(30_000)).await.expect("an answer"), [Renewal::Held]);
}

/// A job of which everything is there to be erased: bodies, a blob, a log.
async fn ended(lossy: &Lossy) -> (JobKey, BlobId, Removal) {
    let mut new = job(at(0));
    let key = new.job.key.clone();
    let id = lossy.upload(&key).await;
    let blob = lossy.store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    (new.job.state, new.text) = (State::Succeeded, Some(Body::Blob(blob)));
    insert(&lossy.store, [new]).await;
    let line = LogLine { at: at(1), attempt: 1, message: "so far".into() };
    lossy.store.append_logs(vec![(key.clone(), line)]).await.expect("a line");
    (key.clone(), id, Removal { key, state: State::Succeeded, wake_at: at(0) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removal_left_is_erased_by_the_collector() {
    let mut lossy = Lossy::new().await;
    let (key, id, removal) = ended(&lossy).await;
    lossy.lose("delete", 0, async |store| store.remove(std::slice::from_ref(&removal)).await).await;
    assert!(lossy.store.get(&key).await.expect("an answer").is_none());
    assert_eq!(lossy.store.remove(&[removal]).await.expect("an answer"), [false]);
    lossy.store.collect_blobs(at(2), at(0), 10).await.expect("an answer");
    assert_eq!(lossy.read(id).await, b"");
    assert!(lossy.store.logs(&key).await.expect("an answer").is_empty());
    let left = lossy
        .place
        .beside(async |database| {
            database.collection::<mongodb::bson::Document>("remains").count_documents(mongodb::bson::doc! {}).await
        })
        .await;
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_never_came_to_erase_the_job_takes_nothing_of_it() {
    let mut lossy = Lossy::new().await;
    let (key, id, removal) = ended(&lossy).await;
    // The note is written, and its reply lost.
    lossy.lose("update", 0, async |store| store.remove(std::slice::from_ref(&removal)).await).await;
    lossy.store.collect_blobs(at(2), at(2), 10).await.expect("an answer");
    assert!(lossy.store.get(&key).await.expect("an answer").is_some());
    assert_eq!(lossy.read(id).await, b"once ");
    assert_eq!(lossy.store.logs(&key).await.expect("an answer").len(), 1);
    assert_eq!(lossy.store.remove(&[removal]).await.expect("an answer"), [true]);
    assert_eq!(lossy.read(id).await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_replies_were_lost_never_has_a_gap() {
    let mut lossy = Lossy::new().await;
    let owner = job(at(0)).job.key;
    let id = BlobId::fresh();
    lossy.lose("insert", 0, async |store| store.begin_blob(id, &owner, at(1_000)).await).await;
    lossy.store.begin_blob(id, &owner, at(1_000)).await.expect("it may be begun again");
    // The chunk is written, and its reply lost: the length does not have it yet, and the next one replaces it.
    let chunk = |text: &'static str| Bytes::from_static(text.as_bytes());
    lossy.lose("update", 0, async |store| store.append_blob(id, chunk("lost"), at(1_000)).await).await;
    assert!(lossy.store.append_blob(id, chunk("once upon a time"), at(1_000)).await.expect("an answer"));
    let blob = lossy.store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    assert_eq!(lossy.read(id).await, b"once upon a time");
    assert_eq!(blob, BlobRef { id, bytes: 16 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_was_lost_is_collected_as_an_orphan() {
    let mut lossy = Lossy::new().await;
    let id = lossy.upload(&job(at(0)).job.key).await;
    lossy.lose("update", 0, async |store| store.commit_blob(id, at(1)).await).await;
    assert!(lossy.store.commit_blob(id, at(2)).await.expect("an answer").is_none(), "it is committed once");
    assert_eq!(lossy.store.collect_blobs(at(9), at(2), 10).await.expect("an answer"), 1);
    assert_eq!(lossy.read(id).await, b"");
}

async fn with_blob(lossy: &Lossy) -> (NewJob, BlobId) {
    let mut new = job(at(0));
    let id = lossy.upload(&new.job.key).await;
    let blob = lossy.store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    new.text = Some(Body::Blob(blob));
    (new, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_whose_job_was_stored_unknown_to_all_is_kept() {
    let mut lossy = Lossy::new().await;
    let (new, id) = with_blob(&lossy).await;
    lossy.lose("insert", 0, async |store| store.insert(vec![new.clone()]).await).await;
    lossy.store.drop_blobs(&[id]).await.expect("an answer");
    assert_eq!(lossy.store.collect_blobs(at(9_000), at(8_000), 10).await.expect("an answer"), 0);
    assert_eq!(lossy.read(id).await, b"once ");
    let again = lossy.store.insert(vec![new.clone()]).await.expect("an answer");
    assert!(matches!(&again[..], [Inserted::Exists(_)]), "{again:?}");
    assert_eq!(lossy.store.collect_blobs(at(9_000), at(8_000), 10).await.expect("an answer"), 0);
    assert_eq!(lossy.read(id).await, b"once ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_whose_job_was_never_stored_is_collected() {
    let mut lossy = Lossy::new().await;
    let (new, id) = with_blob(&lossy).await;
    // The blob was taken for the job, and the insert never sent.
    lossy.lose("update", 0, async |store| store.insert(vec![new.clone()]).await).await;
    assert!(lossy.store.get(&new.job.key).await.expect("an answer").is_none());
    lossy.store.drop_blobs(&[id]).await.expect("an answer");
    assert_eq!(lossy.store.collect_blobs(at(9_000), at(1), 10).await.expect("an answer"), 0, "it may still be sent");
    assert_eq!(lossy.store.collect_blobs(at(9_000), at(8_000), 10).await.expect("an answer"), 1);
    assert_eq!(lossy.read(id).await, b"");
    let gone = lossy.store.insert(vec![new]).await;
    assert!(matches!(&gone, Err(StoreError::UploadExpired(gone)) if *gone == id), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_whose_settle_was_applied_unknown_to_all_is_kept() {
    let mut lossy = Lossy::new().await;
    let mine = lossy.running().await;
    let id = lossy.upload(&mine.key).await;
    let blob = lossy.store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    let settle = mine.succeed(Body::Blob(blob), at(2), &Limits::default()).expect("it runs");
    lossy.forget(&mine).await;
    // The second update is the settle; its reading back is the first find.
    lossy.lose("find", 0, async |store| store.apply(vec![settle.clone()]).await).await;
    lossy.store.drop_blobs(&[id]).await.expect("an answer");
    assert_eq!(lossy.store.collect_blobs(at(9_000), at(8_000), 10).await.expect("an answer"), 0);
    assert_eq!(lossy.read(id).await, b"once ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_go_on_after_those_whose_reply_was_lost() {
    let mut lossy = Lossy::new().await;
    let new = job(at(0));
    let key = new.job.key.clone();
    insert(&lossy.store, [new]).await;
    let line = |n: u64| (key.clone(), LogLine { at: at(n), attempt: 1, message: format!("line {n}") });
    lossy.lose("insert", 0, async |store| store.append_logs(vec![line(0), line(1)]).await).await;
    lossy.store.append_logs(vec![line(2), line(3)]).await.expect("lines");
    // The job is told how long its log will be before there is a line of it: the lines are for another try.
    lossy.lose("update", 0, async |store| store.append_logs(vec![line(4)]).await).await;
    lossy.store.append_logs(vec![line(4), line(5)]).await.expect("lines");
    let messages: Vec<String> =
        lossy.store.logs(&key).await.expect("a log").into_iter().map(|line| line.message).collect();
    assert_eq!(messages, (0..6).map(|n| format!("line {n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_whose_reply_was_lost_go_with_their_job() {
    let mut lossy = Lossy::new().await;
    let mut new = job(at(0));
    new.job.state = State::Succeeded;
    let key = new.job.key.clone();
    insert(&lossy.store, [new]).await;
    let line = LogLine { at: at(1), attempt: 1, message: "so far".into() };
    lossy.lose("insert", 0, async |store| store.append_logs(vec![(key.clone(), line)]).await).await;
    assert_eq!(lossy.store.logs(&key).await.expect("a log").len(), 1);
    let removal = Removal { key: key.clone(), state: State::Succeeded, wake_at: at(0) };
    assert_eq!(lossy.store.remove(&[removal]).await.expect("an answer"), [true]);
    assert!(lossy.store.logs(&key).await.expect("a log").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_note_of_a_removal_that_may_go_on_is_left_for_a_minute() {
    let mut lossy = Lossy::new().await;
    let (key, id, removal) = ended(&lossy).await;
    // The note is written, and its reply lost: as if the removal took its time.
    lossy.lose("update", 0, async |store| store.remove(std::slice::from_ref(&removal)).await).await;
    let notes = async || {
        let remains = async |database: mongodb::Database| {
            database.collection::<mongodb::bson::Document>("remains").count_documents(mongodb::bson::doc! {}).await
        };
        lossy.place.beside(remains).await
    };
    let clock = Clock::start();
    lossy.store.collect_blobs(clock.now(), at(0), 10).await.expect("an answer");
    assert_eq!(notes().await, 1, "whoever removes the job may be about to erase it");
    clock.shift(61_000);
    lossy.store.collect_blobs(clock.now(), at(0), 10).await.expect("an answer");
    assert_eq!(notes().await, 0, "nobody is");
    assert!(lossy.store.get(&key).await.expect("an answer").is_some());
    assert_eq!(lossy.read(id).await, b"once ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_fails_leaves_the_one_before() {
    let lossy = Lossy::new().await;
    insert(&lossy.store, [job(at(0))]).await;
    let before = lossy.store.counts(None).await.expect("counts");
    let cuts = lossy.proxy.cuts();
    lossy.proxy.cut_reply(b"\x02aggregate\0".to_vec(), 0);
    gristmill_testkit::eventually("the count is made again, and fails", async || {
        assert_eq!(lossy.store.counts(None).await.expect("counts"), before);
        (lossy.proxy.cuts() > cuts).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_the_lead_are_found_as_they_were_written() {
    let mut lossy = Lossy::new().await;
    lossy.lose("update", 0, async |store| store.put_record(Kind::Queue, "a", json!(1)).await).await;
    lossy.lose("insert", 0, async |store| store.add_record(Kind::Queue, "b", json!(2)).await).await;
    assert!(!lossy.store.add_record(Kind::Queue, "b", json!(3)).await.expect("an answer"));
    assert_eq!(lossy.store.records(Kind::Queue).await.expect("records"), [json!(1), json!(2)]);
    let lead = LeaderRecord { holder: WorkerId::fresh(), until: at(100), backlog: Vec::new() };
    lossy.lose("update", 0, async |store| store.lead(lead.clone(), at(0)).await).await;
    assert!(lossy.store.lead(lead.clone(), at(1)).await.expect("an answer"), "it leads, and may renew");
    assert_eq!(lossy.store.leader().await.expect("an answer"), Some(lead));
}

fn register(name: &str) -> RegisterKey {
    RegisterKey { space: Space::Slots, tenant: "a".parse().expect("a name"), name: name.into() }
}

/// A swap whose value names who made it.
fn swap(name: &str, expect: Expect, by: &str) -> Swap {
    Swap { key: register(name), expect, to: Some((json!({ "by": by }), Some(at(1)))) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_whose_reply_was_lost_is_known_by_its_value_and_made_once() {
    let mut lossy = Lossy::new().await;
    // Another process looks: the driver may yet close connections beside the one that was cut off.
    let other = lossy.place.ready().await;
    let key = register("a");
    let read = async || other.registers(std::slice::from_ref(&key)).await.expect("an answer").remove(0);
    for (n, after) in PARTS.into_iter().enumerate() {
        let (mine, next) = (format!("mine {n}"), format!("next {n}"));
        let made = swap("a", Expect::Absent, &mine);
        lossy.lose_from("registers", "insert", after, async |store| store.swap(vec![made.clone()]).await).await;
        let first = read().await.expect("it was made");
        assert_eq!(first.value["by"], json!(mine));
        assert_eq!(other.swap(vec![made]).await.expect("an answer"), [false]);

        let changed = swap("a", Expect::Version(first.version), &next);
        lossy.lose_from("registers", "update", after, async |store| store.swap(vec![changed.clone()]).await).await;
        assert_eq!(other.swap(vec![changed]).await.expect("an answer"), [false]);
        let second = read().await.expect("it is there");
        assert_eq!((&second.value["by"], second.version), (&json!(next), first.version + 1));

        let removed = Swap { key: key.clone(), expect: Expect::Version(second.version), to: None };
        lossy.lose_from("registers", "delete", after, async |store| store.swap(vec![removed.clone()]).await).await;
        assert_eq!(read().await, None);
        assert_eq!(other.swap(vec![removed]).await.expect("an answer"), [false]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_whose_reading_back_was_lost_are_told_by_reading_again() {
    let mut lossy = Lossy::new().await;
    let other = lossy.place.ready().await;
    let made = ["a", "b", "c"].map(|name| swap(name, Expect::Absent, "first"));
    assert_eq!(other.swap(made.to_vec()).await.expect("answers"), [true; 3]);
    let keys = ["a", "b", "c"].map(register);
    let versions = async || -> Vec<u64> {
        let found = other.registers(&keys).await.expect("registers");
        found.into_iter().map(|found| found.expect("it is there").version).collect()
    };
    let before = versions().await;
    // One of three is stale, so that the count is no proof.
    let stale = |by: &str| {
        let expect = [before[0], before[1] + 7, before[2]].map(Expect::Version);
        ["a", "b", "c"].into_iter().zip(expect).map(|(name, expect)| swap(name, expect, by)).collect::<Vec<_>>()
    };
    lossy.lose_from("registers", "find", 0, async |store| store.swap(stale("second")).await).await;
    let found = other.registers(&keys).await.expect("registers");
    let by: Vec<_> = found.into_iter().map(|found| found.expect("it is there").value["by"].clone()).collect();
    assert_eq!(by, ["second", "first", "second"]);
    // Nothing of it is made again, and a call that is not disturbed is told which were made.
    assert_eq!(other.swap(stale("third")).await.expect("answers"), [false; 3]);
    let after = versions().await;
    let again = vec![
        swap("a", Expect::Version(after[0]), "fourth"),
        swap("b", Expect::Version(after[1] + 1), "fourth"),
        Swap { key: register("c"), expect: Expect::Version(after[2]), to: None },
    ];
    assert_eq!(other.swap(again).await.expect("answers"), [true, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_replacement_was_lost_is_found_by_reading_again() {
    let mut lossy = Lossy::new().await;
    let other = lossy.place.ready().await;
    other.put_record(Kind::Queue, "a", json!(1)).await.expect("a record");
    lossy.lose("update", 0, async |store| store.replace_record(Kind::Queue, "a", &json!(1), json!(2)).await).await;
    assert_eq!(other.records(Kind::Queue).await.expect("records"), [json!(2)]);
    assert!(!other.replace_record(Kind::Queue, "a", &json!(1), json!(3)).await.expect("an answer"));
    // Another way to write down the same.
    let spaced = mongodb::bson::doc! {"$set": {"json": "{ \"b\": [1 ], \"a\": 2}"}};
    lossy
        .place
        .beside(async |database| {
            let records = database.collection::<mongodb::bson::Document>("records");
            records.update_one(mongodb::bson::doc! {"_id": "queue/a"}, spaced).await
        })
        .await;
    let there = json!({"a": 2, "b": [1]});
    assert!(other.replace_record(Kind::Queue, "a", &there, json!(4)).await.expect("an answer"));
    assert_eq!(other.records(Kind::Queue).await.expect("records"), [json!(4)]);
}

/// A server that hangs is given up after a while, and used again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_not_waited_for() {
    let lossy = Lossy::new().await;
    let new = job(at(0));
    lossy.proxy.treat(Manner::Hang);
    let began = std::time::Instant::now();
    let calls = (0..40).map(|_| lossy.store.insert(vec![new.clone()]));
    for answer in futures::future::join_all(calls).await {
        assert!(matches!(answer, Err(StoreError::Unavailable(_) | StoreError::Overloaded)), "{answer:?}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(12), "{:?}", began.elapsed());
    lossy.proxy.treat(Manner::Forward);
    answers(&*lossy.store).await;
    lossy.store.insert(vec![new]).await.expect("it goes on");
}

/// What a process knows of the jobs that it has claimed may be old: another has asked one of them to stop, and a third
/// was rescued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_knows_of_its_jobs_is_checked_when_it_settles_them() {
    let place = Place::new();
    let (mine, other) = (place.ready().await, place.ready().await);
    let jobs: Vec<NewJob> = (0..4).map(|n| job(at(n))).collect();
    let keys: Vec<JobKey> = jobs.iter().map(|new| new.job.key.clone()).collect();
    insert(&mine, jobs).await;
    let claimed = mine.claim(claim_of(&keys, at(5))).await.expect("a claim");
    let runs: Vec<Job> = claimed.into_iter().map(|claimed| claimed.job).collect();
    let limits = Limits::default();
    let stop = runs[1].cancel(at(6), &limits).expect("it runs");
    let rescue = runs[2].rescue(at(7), &limits).expect("it runs");
    let meanwhile = other.apply(vec![stop, rescue]).await.expect("changes");
    other.renew(&[(keys[3].clone(), runs[3].lease.expect("a lease"))], at(50_000)).await.expect("an answer");

    let settles: Vec<Change> = runs.iter().map(|job| succeed(job, at(8))).collect();
    let settled = mine.apply(settles.clone()).await.expect("an answer");
    let mut expected = [Some(runs[0].clone()), meanwhile[0].clone(), None, Some(runs[3].clone())];
    for (job, settle) in expected.iter_mut().zip(settles) {
        assert!(job.as_mut().is_none_or(|job| settle.apply(job)));
    }
    assert_eq!(settled, expected);
    for (key, settled) in keys.iter().zip(settled).filter(|(_, settled)| settled.is_some()) {
        assert_eq!(Some(get(&other, key).await), settled);
    }
}
