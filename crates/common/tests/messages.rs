//! Every version of every message, pinned by a file: what an older build wrote must stay readable, and what
//! this build writes must not change unnoticed.

use gristmill_common::{
    JobId, State, Tenant, Timestamp,
    job::{Concurrency, Gates, Job, JobKey, OnConflict, Priority, RateLimit, Unique, While},
    message::{
        DISPATCH_VERSION, Dispatch, JOB_EVENT_VERSION, JOB_EVENTS_VERSION, JobEvent, JobEvents, MessageError, decode,
    },
};

fn job_id() -> JobId {
    "job_01jd8zq3w4e5r6t7y8v9p0a1s2".parse().expect("an id")
}

#[test]
fn dispatch_v1_is_pinned() {
    let dispatch = Dispatch {
        v: 1,
        tenant: "default".parse().expect("a name"),
        job_id: job_id(),
        job_type: "word_count".parse().expect("a name"),
        claims: 2,
        priority: Priority::High,
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        gates: None,
    };
    let golden = include_str!("golden/dispatch-v1.json").trim();
    assert_eq!(serde_json::to_string(&dispatch).expect("json"), golden);
    assert_eq!(decode::<Dispatch>(golden.as_bytes(), DISPATCH_VERSION).expect("readable"), dispatch);
}

#[test]
fn dispatch_v2_is_pinned_and_is_for_jobs_with_gates_alone() {
    let key = JobKey { tenant: "default".parse().expect("a name"), id: job_id() };
    let plain = Job::accepted(key, "word_count".parse().expect("a name"), Timestamp::from_millis(0));
    let concurrency = Concurrency { key: "printer".parse().expect("a key"), limit: 2 };
    let rate_limit = RateLimit { key: "mail".parse().expect("a key"), limit: 5, per_ms: 1_000 };
    let gates = Gates { concurrency: Some(concurrency), rate_limit: Some(rate_limit), ..Gates::default() };
    let unique = Unique { key: "one".parse().expect("a key"), held: While::Active, on_conflict: OnConflict::Reject };
    let with = |gates| Job { gates: Some(Box::new(gates)), ..plain.clone() };

    let golden = include_str!("golden/dispatch-v2.json").trim();
    let dispatch = Dispatch::of(&with(gates));
    assert_eq!(serde_json::to_string(&dispatch).expect("json"), golden);
    assert_eq!(decode::<Dispatch>(golden.as_bytes(), DISPATCH_VERSION).expect("readable"), dispatch);
    assert_eq!(DISPATCH_VERSION, 2, "a new version needs a golden file of its own");
    assert!(decode::<Dispatch>(golden.as_bytes(), 1).is_err(), "an older build would run it without its gates");

    let of_submitters = with(Gates { unique: Some(unique), ..Gates::default() });
    assert_eq!([Dispatch::of(&plain).v, Dispatch::of(&of_submitters).v], [1, 1]);
}

#[test]
fn a_dispatch_without_a_trace_is_readable() {
    let golden = include_bytes!("golden/dispatch-v1-no-trace.json");
    assert_eq!(decode::<Dispatch>(golden, DISPATCH_VERSION).expect("readable").trace, None);
}

#[test]
fn job_event_v1_is_pinned() {
    let event =
        JobEvent { v: 1, tenant: "default".parse().expect("a name"), job_id: job_id(), state: State::Succeeded };
    let golden = include_str!("golden/job-event-v1.json").trim();
    assert_eq!(serde_json::to_string(&event).expect("json"), golden);
    assert_eq!(decode::<JobEvent>(golden.as_bytes(), JOB_EVENT_VERSION).expect("readable"), event);
    assert_eq!(JOB_EVENT_VERSION, 1, "a new version needs a golden file of its own");
}

#[test]
fn job_events_v1_is_pinned() {
    let tenant: Tenant = "default".parse().expect("a name");
    let event = |state| JobEvent { v: 1, tenant: tenant.clone(), job_id: job_id(), state };
    let events = JobEvents { v: 1, from: u64::MAX, seq: 7, events: vec![event(State::Running), event(State::Failed)] };
    let golden = include_str!("golden/job-events-v1.json").trim();
    assert_eq!(serde_json::to_string(&events).expect("json"), golden);
    assert_eq!(decode::<JobEvents>(golden.as_bytes(), JOB_EVENTS_VERSION).expect("readable"), events);
    assert_eq!(JOB_EVENTS_VERSION, 1, "a new version needs a golden file of its own");
}

#[test]
fn a_message_from_the_future_is_told_from_a_broken_one() {
    let future = decode::<Dispatch>(br#"{"v": 3, "something": "new"}"#, DISPATCH_VERSION);
    assert!(matches!(future, Err(MessageError::FromTheFuture { found: 3, known: 2 })), "{future:?}");
    for broken in ["", "[]", r#"{"v":1}"#, r#"{"v":"1"}"#, "\u{0}"] {
        let read = decode::<Dispatch>(broken.as_bytes(), DISPATCH_VERSION);
        assert!(matches!(read, Err(MessageError::Malformed(_))), "{broken}: {read:?}");
    }
}
