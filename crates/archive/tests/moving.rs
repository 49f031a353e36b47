//! A small store with something of everything, moved from SQLite into SQLite, and what is refused on the way.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use gristmill_archive::{ArchiveError, Imported, Verdict, export, import};
use gristmill_common::{
    BlobId, Body, Clock, LeaderRecord, QueueRate, QueueRecord, State, Tenant, WorkerId,
    http::LogLine,
    job::{Concurrency, Gates, HistoryEntry, JobError, JobKey, NewJob, What},
};
use gristmill_storage::{
    Expect, Kind, Register, RegisterKey, Space, Store, Swap, Whole,
    conformance::{at, claim_of, insert, job_of, text},
};
use serde_json::json;

/// Where a test moves things.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.path(name).display())
    }

    async fn store(&self, name: &str) -> Arc<dyn Store> {
        gristmill_storage::open(&self.url(name), &Clock::start()).await.expect("a store").store
    }

    async fn export(&self, segment_jobs: u64) -> Result<u64, ArchiveError> {
        let exported = export(&self.path("data"), &self.path("archive"), segment_jobs, &mut |_| {}).await?;
        Ok(exported.jobs)
    }

    async fn import(&self) -> Result<Imported, ArchiveError> {
        import(&self.path("archive"), &self.url("target"), &mut |_| {}).await
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.path("archive").join(format!("segments/{number:06}.jsonl"))
    }

    /// The only blob's file.
    fn blob(&self) -> PathBuf {
        let mut files = fs::read_dir(self.path("archive").join("blobs")).expect("the blobs");
        files.next().expect("there is one").expect("an entry").path()
    }
}

/// A body of 200 KB in several chunks, as a text of this job.
async fn upload(store: &dyn Store, owner: &JobKey) -> Body {
    let id = BlobId::fresh();
    store.begin_blob(id, owner, at(1_000)).await.expect("a blob");
    for n in 0..4u8 {
        assert!(store.append_blob(id, Bytes::from(vec![n; 50_000]), at(1_000)).await.expect("an answer"));
    }
    Body::Blob(store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there"))
}

/// Twelve jobs of two tenants: one that runs, one dead, one with a blob and a log, one that is not UTF-8.
async fn populate(store: &Arc<dyn Store>) {
    let mut jobs: Vec<NewJob> =
        (0..12).map(|n| job_of(["default", "other"][n % 2].parse::<Tenant>().expect("a name"), at(n as u64))).collect();
    let keys: Vec<JobKey> = jobs.iter().map(|new| new.job.key.clone()).collect();
    jobs[1].text = Some(upload(&**store, &keys[1]).await);
    jobs[2].payload = Body::Inline(Bytes::from_static(b"\xff\x00{}"));
    jobs[3].payload = text("{\"text\":\"☂ \\u0000 \u{7f}\"}\r\n");
    let dead = &mut jobs[4].job;
    (dead.state, dead.attempt, dead.failed_at, dead.finished_at) = (State::Failed, 3, Some(at(7)), Some(at(7)));
    dead.error = Some(JobError { code: "boom".into(), message: "☠ \"\n".into(), attempt: 3 });
    (dead.tags, dead.fingerprint) = (vec!["a,b".into()], Some([7; 32]));
    let concurrency = Some(Concurrency { key: "k".parse().expect("a key"), limit: 2 });
    dead.gates = Some(Box::new(Gates { concurrency, ..Gates::default() }));
    (0..100).for_each(|n| dead.history.push(HistoryEntry::new(at(n), What::Due)));
    insert(store, jobs).await;
    store.claim(claim_of(&keys[5..6], at(20))).await.expect("a claim");
    let line = |n| (keys[1].clone(), LogLine { at: at(n), attempt: 1, message: format!("line {n}\0") });
    store.append_logs((0..5).map(line).collect()).await.expect("a log");
    let rate_limit = Some(QueueRate { limit: 5, per_ms: 1_000 });
    let queue = QueueRecord { name: "books".parse().expect("a name"), paused: true, rate_limit, created_at: at(1) };
    store.put_record(Kind::Queue, "books", serde_json::to_value(queue).expect("JSON")).await.expect("a record");
    lead(store).await;
}

/// What every server does when it starts.
async fn lead(store: &Arc<dyn Store>) {
    let record = LeaderRecord { holder: WorkerId::fresh(), until: at(9), backlog: Vec::new() };
    assert!(store.lead(record, at(1 << 40)).await.expect("an answer"));
}

async fn everything(store: &dyn Store) -> Vec<Whole> {
    store.walk(None, 1_000).await.expect("a page")
}

#[tokio::test]
async fn everything_moves_and_is_compared_and_moving_it_again_changes_nothing() {
    let place = Place::new();
    let source = place.store("data").await;
    populate(&source).await;
    let before = everything(&*source).await;
    let counts = source.counts(None).await.expect("counts");
    assert!(matches!(place.export(5).await, Err(ArchiveError::Store(gristmill_storage::StoreError::InUse(_)))));
    drop(source);
    assert_eq!(place.export(5).await.expect("an archive"), 12);
    assert!(place.segment(3).is_file() && !place.segment(4).exists());
    let imported = place.import().await.expect("an import");
    assert!(imported.comparison.is_whole());
    assert_eq!((imported.created, imported.comparison.total().same), (12, 12));
    let again = place.import().await.expect("an import");
    assert_eq!((again.created, again.comparison), (0, imported.comparison));
    let target = place.store("target").await;
    assert_eq!(everything(&*target).await, before);
    assert_eq!(target.counts(None).await.expect("counts"), counts);
    let queues = target.records(Kind::Queue).await.expect("records");
    assert_eq!(queues.len(), 1);
    assert_eq!((&queues[0]["paused"], &queues[0]["rate_limit"]["limit"]), (&json!(true), &json!(5)));
}

#[tokio::test]
async fn a_queue_that_is_there_is_paused_and_bounded_and_keeps_the_rest() {
    let place = Place::new();
    populate(&place.store("data").await).await;
    place.export(100).await.expect("an archive");
    let there = json!({"name": "books", "paused": false, "created_at": at(9), "newer": 7});
    let target = place.store("target").await;
    target.put_record(Kind::Queue, "books", there.clone()).await.expect("a record");
    drop(target);
    let imported = place.import().await.expect("an import");
    let books = ["books".parse().expect("a name")];
    assert_eq!((&imported.paused[..], &imported.limited[..]), (&books[..], &books[..]));
    let target = place.store("target").await;
    let mut wanted = there;
    (wanted["paused"], wanted["rate_limit"]) = (json!(true), json!({"limit": 5, "per_ms": 1_000}));
    assert_eq!(target.records(Kind::Queue).await.expect("records"), [wanted]);
    drop(target);
    let again = place.import().await.expect("an import");
    assert!(again.paused.is_empty() && again.limited.is_empty());
}

/// A register in each space, of two tenants.
async fn hold(store: &Arc<dyn Store>, value: &str) -> Vec<RegisterKey> {
    let tenant = |n: usize| ["default", "other"][n % 2].parse().expect("a name");
    let key = |(n, space)| RegisterKey { space, tenant: tenant(n), name: "a key/ü".into() };
    let keys: Vec<RegisterKey> = Space::ALL.into_iter().enumerate().map(key).collect();
    let made = |(n, key): (usize, &RegisterKey)| {
        let to = Some((json!({ "by": value }), (n % 2 == 0).then(|| at(n as u64))));
        Swap { key: key.clone(), expect: Expect::Absent, to }
    };
    store.swap(keys.iter().enumerate().map(made).collect()).await.expect("answers");
    keys
}

#[tokio::test]
async fn keys_and_schedules_move_along_and_slots_and_rates_stay_behind() {
    let place = Place::new();
    let source = place.store("data").await;
    populate(&source).await;
    let keys = hold(&source, "source").await;
    let said = |found: Vec<Option<Register>>| -> Vec<_> {
        found.into_iter().map(|found| found.map(|register| (register.due_at, register.value))).collect()
    };
    let mut expected = said(source.registers(&keys).await.expect("registers"));
    for (key, expected) in keys.iter().zip(&mut expected) {
        if matches!(key.space, Space::Slots | Space::Rate | Space::QueueRate) {
            *expected = None;
        }
    }
    drop(source);
    place.export(5).await.expect("an archive");
    let file = place.path("archive/registers.jsonl");
    let sound = fs::read(&file).expect("registers");
    fs::write(&file, &sound[1..]).expect("written");
    assert!(matches!(place.import().await, Err(ArchiveError::Damaged { file: named, .. }) if named == file));
    fs::write(&file, sound).expect("written");
    assert_eq!(place.import().await.expect("an import").registers, 3);
    assert_eq!(said(place.store("target").await.registers(&keys).await.expect("registers")), expected);
    assert_eq!(place.import().await.expect("an import").registers, 0);

    // What is there stays as it is.
    fs::remove_dir_all(place.path("target")).expect("removed");
    let target = place.store("target").await;
    hold(&target, "target").await;
    let before = target.registers(&keys).await.expect("registers");
    drop(target);
    assert_eq!(place.import().await.expect("an import").registers, 0);
    assert_eq!(place.store("target").await.registers(&keys).await.expect("registers"), before);
}

#[tokio::test]
async fn an_archive_is_of_the_oldest_format_that_can_hold_it() {
    for (with_gates, with_registers, format) in [(false, false, 1), (true, false, 2), (false, true, 2)] {
        let place = Place::new();
        let store = place.store("data").await;
        if with_gates {
            populate(&store).await;
        } else {
            insert(&store, [job_of(Tenant::default(), at(0))]).await;
        }
        if with_registers {
            hold(&store, "source").await;
        }
        drop(store);
        place.export(5).await.expect("an archive");
        let manifest = fs::read(place.path("archive/manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["format"], format);
        assert_eq!(place.path("archive/registers.jsonl").exists(), with_registers);
        assert!(place.import().await.expect("an import").comparison.is_whole());
    }
}

#[tokio::test]
async fn an_export_that_was_broken_off_goes_on_unless_the_folder_changed() {
    let place = Place::new();
    populate(&place.store("data").await).await;
    place.export(3).await.expect("an archive");
    let whole = fs::read_to_string(place.path("archive/manifest.json")).expect("a manifest");
    // As it stood after two segments, with a third half-written.
    let mut manifest: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    manifest["complete"] = false.into();
    manifest["segments"].as_array_mut().expect("segments").truncate(2);
    let read = |segment: &Path| fs::read_to_string(segment).expect("a segment");
    let mut counts = serde_json::Map::new();
    for line in [1, 2].map(|n| read(&place.segment(n))).concat().lines() {
        let job: serde_json::Value = serde_json::from_str(line).expect("a job");
        let cell = counts.entry(format!("{} {} {}", job["tenant"], job["queue"], job["state"])).or_insert_with(
            || serde_json::json!({"tenant": job["tenant"], "queue": job["queue"], "state": job["state"], "jobs": 0}),
        );
        cell["jobs"] = (cell["jobs"].as_u64().expect("a number") + 1).into();
    }
    manifest["counts"] = counts.into_iter().map(|(_, cell)| cell).collect();
    fs::write(place.path("archive/manifest.json"), manifest.to_string()).expect("written");
    let third = read(&place.segment(3));
    fs::remove_file(place.segment(3)).expect("removed");
    fs::write(place.path("archive/segments/000003.jsonl.part"), &third[..third.len() / 2]).expect("written");
    assert!(matches!(place.import().await, Err(ArchiveError::Incomplete(_))));

    assert_eq!(place.export(3).await.expect("the rest"), 12);
    assert_eq!(fs::read_to_string(place.path("archive/manifest.json")).expect("a manifest"), whole);
    assert_eq!(read(&place.segment(3)), third);

    lead(&place.store("data").await).await;
    assert!(matches!(place.export(3).await, Err(ArchiveError::SourceChanged(_))));
}

#[tokio::test]
async fn a_damaged_archive_is_refused_before_anything_of_the_damaged_part_is_stored() {
    let place = Place::new();
    populate(&place.store("data").await).await;
    place.export(5).await.expect("an archive");
    for (file, stored) in [(place.blob(), None), (place.segment(2), None), (place.segment(3), Some(10))] {
        let sound = fs::read(&file).expect("a file");
        let mut bent = sound.clone();
        bent[sound.len() / 2] ^= 1;
        for damage in [bent, sound[..sound.len() - 1].to_vec()] {
            fs::write(&file, damage).expect("written");
            let error = place.import().await.expect_err("it is damaged");
            assert!(matches!(&error, ArchiveError::Damaged { file: named, .. } if *named == file), "{error}");
        }
        fs::write(&file, sound).expect("written");
        if let Some(stored) = stored {
            assert_eq!(everything(&*place.store("target").await).await.len(), stored);
        }
    }
    assert!(place.import().await.expect("it is sound again").comparison.is_whole());
    fs::remove_file(place.segment(1)).expect("removed");
    assert!(matches!(place.import().await, Err(ArchiveError::File { path, .. }) if path == place.segment(1)));
}

#[tokio::test]
async fn what_is_in_the_target_stays_and_is_told_apart() {
    let place = Place::new();
    populate(&place.store("data").await).await;
    place.export(100).await.expect("an archive");
    let source = everything(&*place.store("data").await).await;
    let target = place.store("target").await;
    let mut other = source[0].clone();
    other.payload = text("{\"other\":true}");
    let own = job_of(Tenant::default(), at(99));
    target.restore(vec![other.clone()]).await.expect("outcomes");
    insert(&target, [own.clone()]).await;
    drop(target);
    let imported = place.import().await.expect("an import");
    assert_eq!(imported.comparison.wrong, [(other.job.key.clone(), Verdict::Different)]);
    let total = imported.comparison.total();
    assert_eq!((imported.created, total.same, total.different, total.missing), (11, 11, 1, 0));
    let target = place.store("target").await;
    assert_eq!(target.whole(&[other.job.key.clone()]).await.expect("jobs"), [Some(other)]);

    // The target goes to work.
    let queued = source.iter().rfind(|whole| whole.job.state == State::Queued).expect("one waits");
    target.claim(claim_of(std::slice::from_ref(&queued.job.key), at(100))).await.expect("a claim");
    drop(target);
    let total = place.import().await.expect("an import").comparison.total();
    assert_eq!((total.same, total.moved_on, total.different), (10, 1, 1));
}

#[tokio::test]
async fn an_import_that_was_killed_within_a_blob_goes_on() {
    let place = Place::new();
    populate(&place.store("data").await).await;
    place.export(100).await.expect("an archive");
    let source = everything(&*place.store("data").await).await;
    let owner = source.iter().find(|whole| whole.text.is_some()).expect("it has a text");
    let Some(Body::Blob(blob)) = &owner.text else { panic!("its text is a blob") };
    for is_committed in [false, true] {
        let target = place.store("target").await;
        target.begin_blob(blob.id, &owner.job.key, at(1_000)).await.expect("a blob");
        target.append_blob(blob.id, Bytes::from_static(b"the first part"), at(1_000)).await.expect("an answer");
        if is_committed {
            target.commit_blob(blob.id, at(1)).await.expect("an answer");
        }
        drop(target);
        assert!(place.import().await.expect("an import").comparison.is_whole());
        fs::remove_dir_all(place.path("target")).expect("removed");
    }
}

#[tokio::test]
async fn what_is_no_archive_or_a_newer_one_is_refused() {
    let place = Place::new();
    assert!(matches!(place.import().await, Err(ArchiveError::NoArchive(_))));
    assert!(matches!(place.export(5).await, Err(ArchiveError::NoData(_))));
    assert!(!place.path("data").exists(), "no folder is made of nothing");
    populate(&place.store("data").await).await;
    fs::create_dir(place.path("archive")).expect("a folder");
    fs::write(place.path("archive/letter.txt"), "dear").expect("written");
    assert!(matches!(place.export(5).await, Err(ArchiveError::NotEmpty(_))));
    fs::write(place.path("archive/manifest.json"), "{\"format\":3,\"new\":[]}").expect("written");
    assert!(matches!(place.import().await, Err(ArchiveError::NewerFormat { found: 3, known: 2 })));
    fs::write(place.path("archive/manifest.json"), "{\"format\":1,\"jo").expect("written");
    assert!(matches!(place.import().await, Err(ArchiveError::Damaged { .. })));
}
