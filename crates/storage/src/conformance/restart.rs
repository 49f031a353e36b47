//! What a store keeps when it is closed and opened again.

use bytes::Bytes;
use gristmill_common::{BlobId, Body, LeaderRecord, Part, State, WorkerId, http::LogLine};
use serde_json::json;

use super::{Backend, at, claim_of, get, insert, job, succeed, text};
use crate::{Expect, Kind, RegisterKey, Space, Swap};

/// Jobs in every stage of their life, bodies, blobs, logs, records, counts and the lead are all still there.
pub async fn a_restart_keeps_everything(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<_> = (0..3).map(|n| job(at(n))).collect();
    let keys: Vec<_> = jobs.iter().map(|new| new.job.key.clone()).collect();
    let id = BlobId::fresh();
    store.begin_blob(id, &keys[0], at(1_000)).await.expect("a blob");
    assert!(store.append_blob(id, Bytes::from_static(b"a book"), at(1_000)).await.expect("an answer"));
    let blob = store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    jobs[0].text = Some(Body::Blob(blob));
    insert(&store, jobs).await;
    let claimed = store.claim(claim_of(&keys[..2], at(5))).await.expect("a claim");
    store.apply(vec![succeed(&claimed[0].job, at(6))]).await.expect("a change");
    let line = LogLine { at: at(6), attempt: 1, message: "done".into() };
    store.append_logs(vec![(keys[0].clone(), line.clone())]).await.expect("a line");
    store.put_record(Kind::Queue, "default", json!({"paused": true})).await.expect("a record");
    let register = RegisterKey { space: Space::Schedule, tenant: keys[0].tenant.clone(), name: "nightly".into() };
    let made = Swap { key: register.clone(), expect: Expect::Absent, to: Some((json!({"n": 1}), Some(at(9)))) };
    assert_eq!(store.swap(vec![made]).await.expect("an answer"), [true]);
    let registers = store.registers(std::slice::from_ref(&register)).await.expect("a register");
    let lead = LeaderRecord { holder: WorkerId::fresh(), until: at(9), backlog: Vec::new() };
    assert!(store.lead(lead.clone(), at(7)).await.expect("an answer"));
    let mut before = Vec::new();
    for key in &keys {
        before.push(get(&store, key).await);
    }
    let counts = store.counts(None).await.expect("counts");
    drop(store);

    let store = backend.open().await;
    for (key, before) in keys.iter().zip(&before) {
        assert_eq!(get(&store, key).await, *before);
    }
    let states: Vec<State> = before.iter().map(|job| job.state).collect();
    assert_eq!(states, [State::Succeeded, State::Running, State::Queued]);
    assert_eq!(store.counts(None).await.expect("counts"), counts);
    assert_eq!(store.body(&keys[0], Part::Result).await.expect("an answer"), Some(text("null")));
    assert_eq!(store.body(&keys[0], Part::Text).await.expect("an answer"), Some(Body::Blob(blob)));
    assert_eq!(store.read_blob(id, 2).await.expect("an answer"), Some(Bytes::from_static(b"book")));
    assert_eq!(store.logs(&keys[0]).await.expect("a log"), [line]);
    assert_eq!(store.records(Kind::Queue).await.expect("records"), [json!({"paused": true})]);
    assert_eq!(store.registers(&[register]).await.expect("a register"), registers);
    assert_eq!(
        store.due_registers(at(9), None, 5).await.expect("a register"),
        registers.into_iter().flatten().collect::<Vec<_>>()
    );
    assert_eq!(store.leader().await.expect("an answer"), Some(lead));
    let lease = claimed[1].job.lease.expect("a lease");
    assert_eq!(store.held(lease, &keys).await.expect("an answer").len(), 1);
}
