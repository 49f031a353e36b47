//! Queues are declared and changed by several processes at once, of this build and of newer ones.

mod support;

use std::time::{Duration, Instant};

use gristmill_common::QueueName;
use gristmill_engine::{EngineError, Origin};
use gristmill_storage::Kind;
use serde_json::{Value, json};

use support::{Rig, request, with};

const ROUNDS: u64 = 100;

async fn record(rig: &Rig) -> Value {
    let records = rig.store.records(Kind::Queue).await.expect("records");
    records.into_iter().find(|record| record["name"] == "books").expect("it is declared")
}

/// A newer build keeps a setting of its own in a queue's record, and changes it while this one pauses and resumes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_changes_of_a_queue_none_is_lost() {
    let rig = Rig::new().await;
    let name: QueueName = "books".parse().expect("a name");
    assert!(matches!(rig.engine.pause_queue(&name).await, Err(EngineError::NoSuchQueue)));
    rig.engine.declare_queue(&name).await.expect("a queue");
    let declared = record(&rig).await;

    let store = rig.store.clone();
    let count = async |there: &Value| {
        let mut next = there.clone();
        next["newer"] = (there["newer"].as_u64().unwrap_or(0) + 1).into();
        store.replace_record(Kind::Queue, "books", there, next).await.expect("an answer")
    };
    let newer = async {
        for _ in 0..ROUNDS {
            while !count(&record(&rig).await).await {}
        }
    };
    let ours = async {
        for round in 0..ROUNDS {
            match round % 2 {
                0 => rig.engine.resume_queue(&name).await.expect("resumed"),
                _ => rig.engine.pause_queue(&name).await.expect("paused"),
            }
            assert_eq!(record(&rig).await["paused"], json!(round % 2 == 1));
        }
    };
    tokio::join!(newer, ours);
    let mut expected = declared;
    (expected["paused"], expected["newer"]) = (true.into(), ROUNDS.into());
    assert_eq!(record(&rig).await, expected);
    let queues = rig.engine.queues().await.expect("queues");
    assert!(queues.iter().any(|queue| queue.record.name == name && queue.record.paused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_can_be_used_everywhere_as_soon_as_it_is_declared_somewhere() {
    let rig = Rig::new().await;
    let other = rig.another_engine().await;
    for round in 0..20 {
        let name = format!("books-{round}");
        let to_it = || with("sleep", json!({"ms": 0}), json!({ "queue": name }));
        let before = rig.engine.submit(Origin::default(), to_it()).await;
        assert!(matches!(before, Err(EngineError::UnknownQueue(_))), "{before:?}");
        other.declare_queue(&name.parse().expect("a name")).await.expect("declared");
        rig.engine.submit(Origin::default(), to_it()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_wrong_throughout_looks_for_what_it_names_once() {
    let rig = Rig::new().await;
    let batch = (0..1_000).map(|place| (place, request(&format!("no-such-{place}"), json!({})))).collect();
    let began = Instant::now();
    let outcomes = rig.engine.submit_batch(Origin::default(), batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(EngineError::UnknownJobType(_)))));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
