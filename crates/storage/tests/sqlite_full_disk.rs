//! A disk that fills up under the store: nothing is answered that is not stored, and it goes on when there is room.
//!
//! The disk is a small tmpfs in a mount namespace of its own, which the system clears away with the process. The
//! test starts itself again inside it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use gristmill_common::{Body, Clock, Part, job::JobKey};
use gristmill_storage::{Inserted, Store, StoreError, conformance::job};

/// Names the small disk to the test inside it.
const DISK: &str = "GRISTMILL_TEST_SMALL_DISK";
const TEST: &str = "a_full_disk_refuses_writes_and_loses_none";

#[test]
fn a_full_disk_refuses_writes_and_loses_none() {
    if let Some(disk) = std::env::var_os(DISK) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(fill_and_free(&PathBuf::from(disk)));
    }
    let mount_point = tempfile::tempdir().expect("a folder");
    let is_root = fs::metadata("/proc/self").expect("the process").uid() == 0;
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").args(if is_root { &[][..] } else { &["--user", "--map-root-user"] });
    let output = unshare
        .args(["sh", "-c", "mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$@\""])
        .arg(mount_point.path())
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", TEST, "--nocapture"])
        .env(DISK, mount_point.path())
        .output()
        .expect("unshare(1) runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "on a small disk, or while making it ({}):\n{said}", output.status);
}

async fn open(disk: &Path) -> Arc<dyn Store> {
    let url = format!("sqlite://{}", disk.join("data").display());
    gristmill_storage::open(&url, &Clock::start()).await.expect("the store opens").store
}

/// What became of the jobs that one caller wanted stored.
#[derive(Default)]
struct Told {
    stored: Vec<JobKey>,
    refused: Vec<JobKey>,
    /// The disk filled up within a commit: nobody knows.
    unknown: Vec<JobKey>,
}

/// Inserts jobs of 20 KB each until `refusals` of them were refused.
async fn insert_until_refused(store: Arc<dyn Store>, refusals: usize) -> Told {
    let clock = Clock::start();
    let mut told = Told::default();
    while told.refused.len() + told.unknown.len() < refusals {
        let mut new = job(clock.now());
        new.payload = Body::Inline(vec![b'x'; 20_000].into());
        let key = new.job.key.clone();
        match store.insert(vec![new]).await {
            Ok(outcomes) => {
                assert!(matches!(outcomes[..], [Inserted::Created]));
                told.stored.push(key);
            }
            Err(StoreError::OutOfSpace(_)) => told.refused.push(key),
            Err(StoreError::Unavailable(_)) => told.unknown.push(key),
            Err(error) => panic!("a full disk is told as such, not as: {error:?}"),
        }
        assert!(told.stored.len() < 5_000, "the disk fills up");
    }
    told
}

async fn fill_and_free(disk: &Path) {
    let ballast = disk.join("ballast");
    // More than the rest: when it goes, all of the log has room in the database.
    fs::write(&ballast, vec![0; 14 << 20]).expect("room for the ballast");
    let store = open(disk).await;
    let callers = (0..8).map(|_| tokio::spawn(insert_until_refused(store.clone(), 5)));
    let mut all = Told::default();
    for told in futures::future::join_all(callers).await {
        let told = told.expect("no panic");
        all.stored.extend(told.stored);
        all.refused.extend(told.refused);
        all.unknown.extend(told.unknown);
    }
    assert!(all.stored.len() > 100, "there was room for some: {}", all.stored.len());
    check(&store, &all).await;

    fs::remove_file(&ballast).expect("the ballast goes");
    let more = job(Clock::start().now());
    all.stored.push(more.job.key.clone());
    let outcomes = store.insert(vec![more]).await.expect("there is room again");
    assert!(matches!(outcomes[..], [Inserted::Created]));
    check(&store, &all).await;
    drop(store);
    check(&open(disk).await, &all).await;
}

/// What was answered is stored with its body, what was refused is not, and nothing else is there.
async fn check(store: &Arc<dyn Store>, told: &Told) {
    let mut jobs = told.stored.len() as u64;
    for key in &told.stored {
        let found = store.get(key).await.expect("a full disk can be read").expect("an answered job is stored");
        let payload = store.body(key, Part::Payload).await.expect("a full disk can be read");
        assert!(payload.is_some_and(|body| !body.is_empty()), "{} has its payload", found.job.key.id);
    }
    for key in &told.refused {
        assert!(store.get(key).await.expect("a full disk can be read").is_none(), "a refused job is not stored");
    }
    for key in &told.unknown {
        jobs += u64::from(store.get(key).await.expect("a full disk can be read").is_some());
    }
    let counts = store.counts(None).await.expect("a full disk can be read");
    assert_eq!(counts.iter().map(|cell| cell.count).sum::<u64>(), jobs);
}
