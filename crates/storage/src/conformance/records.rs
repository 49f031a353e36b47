//! Small records and leadership.

use gristmill_common::{BandKey, LeaderRecord, QueueName, WorkerId, job::Priority};
use serde_json::{Value, json};

use super::{Backend, at};
use crate::Kind;

/// Kinds are apart; a put replaces, an add does not; a kind is read by name.
pub async fn records_are_put_added_and_dropped(backend: &dyn Backend) {
    let store = backend.open().await;
    let nested = json!({"n": 1.5, "list": [null, true, "ü"], "deep": {"er": {}}});
    store.put_record(Kind::Queue, "b", json!(1)).await.expect("a record");
    store.put_record(Kind::Queue, "a", json!(2)).await.expect("a record");
    store.put_record(Kind::Queue, "b", nested.clone()).await.expect("a record");
    assert!(!store.add_record(Kind::Queue, "b", json!(3)).await.expect("an answer"));
    assert!(store.add_record(Kind::Queue, "c", json!(4)).await.expect("an answer"));
    assert!(store.add_record(Kind::Worker, "b", json!(5)).await.expect("an answer"));
    assert_eq!(store.records(Kind::Queue).await.expect("records"), [json!(2), nested.clone(), json!(4)]);
    assert_eq!(store.records(Kind::Worker).await.expect("records"), [json!(5)]);
    assert!(store.records(Kind::JobType).await.expect("records").is_empty());
    store.drop_record(Kind::Queue, "a").await.expect("an answer");
    store.drop_record(Kind::Queue, "a").await.expect("an answer");
    assert_eq!(store.records(Kind::Queue).await.expect("records"), [nested, json!(4)]);
    assert_eq!(store.records(Kind::Worker).await.expect("records"), [json!(5)]);
    store.ping().await.expect("it answers");
}

/// A record is replaced only where it says what is expected, however it was written down.
pub async fn a_record_is_replaced_only_as_it_was_read(backend: &dyn Backend) {
    let store = backend.open().await;
    let replace = |expected: Value, record: Value| {
        let store = store.clone();
        async move { store.replace_record(Kind::Queue, "a", &expected, record).await.expect("an answer") }
    };
    assert!(!replace(json!(null), json!(1)).await, "there is none");
    store.put_record(Kind::Queue, "a", json!({"n": 1, "a": [1.5, "ü"]})).await.expect("a record");
    store.put_record(Kind::Queue, "b", json!({"n": 1, "a": [1.5, "ü"]})).await.expect("a record");
    assert!(!replace(json!({"n": 2, "a": [1.5, "ü"]}), json!(1)).await);
    assert!(!replace(json!({"n": 1}), json!(1)).await);
    assert!(replace(json!({"a": [1.5, "ü"], "n": 1}), json!({"n": 0})).await);
    assert!(!replace(json!({"a": [1.5, "ü"], "n": 1}), json!({"n": 9})).await);
    assert!(replace(json!({"n": 0}), json!({"n": 0})).await, "the same may take the place of the same");
    let records = store.records(Kind::Queue).await.expect("records");
    assert_eq!(records, [json!({"n": 0}), json!({"n": 1, "a": [1.5, "ü"]})]);
}

/// Sixteen who each count a record up five times, again when another was faster, count it up eighty times.
pub async fn no_racing_replacement_is_lost(backend: &dyn Backend) {
    let store = backend.open().await;
    store.put_record(Kind::Queue, "a", json!({"n": 0})).await.expect("a record");
    let callers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                loop {
                    let there = store.records(Kind::Queue).await.expect("records").remove(0);
                    let next = json!({"n": there["n"].as_u64().expect("a number") + 1});
                    if store.replace_record(Kind::Queue, "a", &there, next).await.expect("an answer") {
                        break;
                    }
                }
            }
        })
    });
    futures::future::join_all(callers).await.into_iter().for_each(|caller| caller.expect("no panic"));
    assert_eq!(store.records(Kind::Queue).await.expect("records"), [json!({"n": 80})]);
}

fn leader(until: u64) -> LeaderRecord {
    LeaderRecord { holder: WorkerId::fresh(), until: at(until), backlog: Vec::new() }
}

/// Of sixteen who would lead, one does.
pub async fn one_of_racing_leaders_leads(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.leader().await.expect("an answer"), None);
    let rivals: Vec<LeaderRecord> = (0..16).map(|_| leader(5_000)).collect();
    let bids = rivals.iter().map(|rival| store.lead(rival.clone(), at(0)));
    let answers = futures::future::join_all(bids).await;
    let leads = |(rival, answer): (&LeaderRecord, Result<bool, _>)| answer.expect("an answer").then(|| rival.clone());
    let leaders: Vec<LeaderRecord> = rivals.iter().zip(answers).filter_map(leads).collect();
    assert_eq!(leaders.len(), 1);
    assert_eq!(store.leader().await.expect("an answer").as_ref(), leaders.first());
}

/// The leader renews, before and after its time is over; another takes the lead only when it is over.
pub async fn the_lead_is_kept_by_renewal_and_taken_after_its_end(backend: &dyn Backend) {
    let store = backend.open().await;
    let (first, second) = (leader(100), leader(300));
    assert!(store.lead(first.clone(), at(0)).await.expect("an answer"));
    assert!(!store.lead(second.clone(), at(99)).await.expect("an answer"));
    let band = BandKey { queue: QueueName::default(), priority: Priority::Low };
    let renewed = LeaderRecord { until: at(200), backlog: vec![band], ..first.clone() };
    assert!(store.lead(renewed.clone(), at(99)).await.expect("an answer"));
    assert_eq!(store.leader().await.expect("an answer"), Some(renewed));
    assert!(!store.lead(second.clone(), at(199)).await.expect("an answer"));
    assert!(store.lead(second.clone(), at(200)).await.expect("an answer"));
    assert!(!store.lead(first, at(201)).await.expect("an answer"));
    assert_eq!(store.leader().await.expect("an answer"), Some(second));
}
