//! Small records and leadership.

use gristmill_common::{BandKey, LeaderRecord, QueueName, WorkerId, job::Priority};
use serde_json::json;

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
