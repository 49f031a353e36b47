//! A job's life through the engine: from its submission to its end.

mod support;

use std::time::Duration;

use gristmill_common::{
    State,
    job::{JobKey, Limits, What},
};
use gristmill_engine::{EngineError, ListRequest, Origin, TextPart, WorkerConfig};
use gristmill_storage::{JobFilter, Order};
use gristmill_testkit::{DEADLINE, eventually};
use serde_json::json;
use support::{Rig, request, tenant, unknown_key, with};
use tokio::sync::mpsc;

fn origin_with_key(key: &str) -> Origin {
    Origin { idempotency_key: Some(key.into()), ..Origin::default() }
}

async fn dead_letters(rig: &Rig) -> usize {
    let request = ListRequest {
        tenant: tenant("default"),
        filter: JobFilter::default(),
        order: Order::FailedNewestFirst,
        cursor: None,
        limit: 100,
    };
    rig.engine.list(request).await.expect("a list").0.len()
}

#[tokio::test]
async fn a_job_runs_and_whoever_waits_is_woken() {
    let rig = Rig::new().await;
    rig.work();
    let key = rig.submit(request("word_count", json!({"text": "one two\ntwo"}))).await;
    let found = rig.engine.wait(&key, DEADLINE).await.expect("a job");
    assert_eq!((found.job.state, found.job.attempt, found.job.progress.percent), (State::Succeeded, 1, 100));
    let result = rig.result(&key).await;
    assert_eq!((&result["words"], &result["lines"], &result["unique_words"]), (&json!(3), &json!(1), &json!(2)));
    let history: Vec<What> = found.job.history.entries().map(|entry| entry.what).collect();
    assert_eq!(history, [What::Created, What::Claimed, What::Succeeded]);
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_after_its_backoff() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let more = json!({"backoff": {"kind": "fixed", "delay_ms": 50}});
    let key = rig.submit(with("fail", json!({"message": "not yet", "until_attempt": 3}), more)).await;
    let job = rig.reaches(&key, State::Succeeded).await;
    assert_eq!((job.attempt, job.max_attempts, job.error), (3, 3, None));
    let failures: Vec<_> = job.history.entries().filter(|entry| entry.what == What::RetryScheduled).collect();
    assert!(failures.iter().all(|entry| entry.message.as_deref() == Some("not yet")));
    assert_eq!(failures.len(), 2);
}

#[tokio::test]
async fn the_last_failure_makes_a_dead_letter_that_can_be_run_again_by_hand() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let more = json!({"backoff": {"kind": "none"}, "max_attempts": 2});
    let key = rig.submit(with("fail", json!({"message": "never", "until_attempt": 4}), more)).await;
    let job = rig.reaches(&key, State::Failed).await;
    assert_eq!((job.attempt, job.failed_at.is_some()), (2, true));
    assert_eq!(job.error.map(|error| (error.code, error.attempt)), Some(("failed_on_purpose".into(), 2)));
    assert_eq!(dead_letters(&rig).await, 1);
    let again = rig.engine.retry(&key).await.expect("runs again");
    assert_eq!((again.state, again.max_attempts), (State::Queued, 5));
    assert_eq!(rig.reaches(&key, State::Succeeded).await.attempt, 4);
    assert_eq!(dead_letters(&rig).await, 0);
    let twice = rig.engine.retry(&key).await;
    assert!(matches!(twice, Err(EngineError::Conflict { state: State::Succeeded, action: "retried" })));
}

#[tokio::test]
async fn a_panic_and_an_endless_attempt_fail_the_attempt_and_nothing_else() {
    let rig = Rig::new().await;
    rig.work();
    let panicked = rig.submit(with("panic", json!({}), json!({"max_attempts": 1}))).await;
    let endless = rig.submit(with("spin", json!({}), json!({"max_attempts": 1, "timeout_ms": 50}))).await;
    let error = rig.reaches(&panicked, State::Failed).await.error.expect("an error");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("panic", "the handler panicked: on purpose"));
    assert_eq!(rig.reaches(&endless, State::Failed).await.error.expect("an error").code, "timeout");
    let fine = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.reaches(&fine, State::Succeeded).await;
}

#[tokio::test]
async fn a_busy_jobs_time_runs_from_when_it_has_a_thread() {
    let rig = Rig::new().await;
    rig.work_with(WorkerConfig { cpu_threads: 1, heartbeat: Duration::from_millis(100), ..WorkerConfig::default() });
    let first = rig.submit(request("spin", json!({}))).await;
    rig.reaches(&first, State::Running).await;
    let second = rig.submit(with("word_count", json!({"text": "a b"}), json!({"timeout_ms": 200}))).await;
    rig.reaches(&second, State::Running).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.job(&second).await.state, State::Running, "it has no thread yet");
    rig.engine.cancel(&first).await.expect("asked");
    assert_eq!(rig.reaches(&second, State::Succeeded).await.attempt, 1);
}

#[tokio::test]
async fn a_job_that_comes_back_at_once_to_the_same_worker_keeps_its_new_lease() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let more = json!({"backoff": {"kind": "none"}, "max_attempts": 1_000});
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(rig.submit(with("fail", json!({"message": "again", "until_attempt": 10}), more.clone())).await);
    }
    for key in &keys {
        let job = rig.reaches(key, State::Succeeded).await;
        assert_eq!((job.attempt, job.rescues), (10, 0));
    }
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_soon() {
    let rig = Rig::new().await;
    let waiting = rig.submit(request("sleep", json!({"ms": 0}))).await;
    assert_eq!(rig.engine.cancel(&waiting).await.expect("cancelled").state, State::Cancelled);
    rig.work();
    let running = rig.submit(request("spin", json!({}))).await;
    rig.reaches(&running, State::Running).await;
    let asked = rig.engine.cancel(&running).await.expect("asked");
    assert!(asked.cancel_requested && asked.state == State::Running);
    let stopped = rig.reaches(&running, State::Cancelled).await;
    assert_eq!((stopped.attempt, stopped.error), (1, None));
    for key in [&waiting, &running] {
        let again = rig.engine.cancel(key).await;
        assert!(matches!(again, Err(EngineError::Conflict { state: State::Cancelled, .. })));
    }
    assert!(matches!(rig.engine.cancel(&unknown_key()).await, Err(EngineError::NoSuchJob)));
}

#[tokio::test]
async fn what_a_handler_says_can_be_read_while_it_runs() {
    let rig = Rig::new().await;
    rig.work();
    let key = rig.submit(request("spin", json!({}))).await;
    eventually("progress", || async { Some(rig.job(&key).await).filter(|job| job.progress.percent == 42) }).await;
    let lines = eventually("a line", || async {
        Some(rig.engine.logs(&key).await.expect("a log")).filter(|lines| !lines.is_empty())
    })
    .await;
    assert_eq!((lines[0].message.as_str(), lines[0].attempt), ("spinning", 1));
    rig.engine.cancel(&key).await.expect("asked");
    rig.reaches(&key, State::Cancelled).await;
}

#[tokio::test]
async fn a_delayed_job_waits_for_its_time() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let key = rig.submit(with("sleep", json!({"ms": 0}), json!({"delay_ms": 3_600_000}))).await;
    assert_eq!(rig.job(&key).await.state, State::Scheduled);
    rig.clock.shift(3_599_000);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.job(&key).await.state, State::Scheduled, "not a second too early");
    rig.clock.shift(1_000);
    rig.reaches(&key, State::Succeeded).await;
}

#[tokio::test]
async fn a_deadline_that_passes_makes_a_dead_letter() {
    let rig = Rig::new().await;
    rig.schedule();
    let deadline = (rig.clock.now() + Duration::from_secs(60)).to_string();
    let key = rig.submit(with("sleep", json!({"ms": 0}), json!({"deadline": deadline}))).await;
    rig.clock.shift(60_001);
    let job = rig.reaches(&key, State::Failed).await;
    assert_eq!((job.attempt, job.error.expect("an error").code.as_str()), (0, "deadline_exceeded"));
    let again = rig.engine.retry(&key).await.expect("runs again");
    assert_eq!(again.deadline, None, "who retries it by hand knows that it is late");
    rig.work();
    rig.reaches(&key, State::Succeeded).await;
}

#[tokio::test]
async fn ended_jobs_are_purged_when_they_were_kept_for_their_time() {
    let limits = Limits { retention: Duration::from_secs(60), ..Limits::default() };
    let rig = Rig::with_limits(limits).await;
    rig.work();
    rig.schedule();
    let done = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let failed = rig.submit(with("fail", json!({"message": "no"}), json!({"max_attempts": 1}))).await;
    rig.reaches(&done, State::Succeeded).await;
    rig.reaches(&failed, State::Failed).await;
    rig.clock.shift(61_000);
    eventually("purged", || async { rig.engine.job(&done).await.is_err().then_some(()) }).await;
    assert_eq!(rig.job(&failed).await.state, State::Failed, "failed jobs are kept longer");
}

#[tokio::test]
async fn only_an_ended_job_can_be_deleted() {
    let rig = Rig::new().await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let refused = rig.engine.delete(&key).await;
    assert!(matches!(refused, Err(EngineError::Conflict { state: State::Queued, action: "deleted" })));
    rig.engine.cancel(&key).await.expect("cancelled");
    rig.engine.delete(&key).await.expect("deleted");
    assert!(matches!(rig.engine.delete(&key).await, Err(EngineError::NoSuchJob)));
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job_of_many_submissions() {
    let rig = Rig::new().await;
    let submit = |text: &str| rig.engine.submit(origin_with_key("k"), request("word_count", json!({ "text": text })));
    let (first, second) = tokio::join!(submit("same"), submit("same"));
    let (first, second) = (first.expect("accepted"), second.expect("accepted"));
    assert_eq!(first.key, second.key);
    assert!(matches!(submit("other").await, Err(EngineError::IdempotencyKeyReused)));
    let batch = vec![(0, request("sleep", json!({"ms": 0}))), (1, request("sleep", json!({"ms": 0})))];
    let ids = |jobs: Vec<Result<gristmill_common::Job, EngineError>>| -> Vec<JobKey> {
        jobs.into_iter().map(|job| job.expect("accepted").key).collect()
    };
    let once = ids(rig.engine.submit_batch(origin_with_key("b"), batch.clone()).await);
    let twice = ids(rig.engine.submit_batch(origin_with_key("b"), batch).await);
    assert_eq!(once, twice);
    assert_ne!(once[0], once[1]);
}

#[tokio::test]
async fn a_submission_that_was_accepted_is_not_judged_again() {
    let rig = Rig::new().await;
    let deadline = (rig.clock.now() + Duration::from_secs(60)).to_string();
    let late = || with("sleep", json!({"ms": 0}), json!({ "deadline": deadline }));
    let accepted = rig.engine.submit(origin_with_key("k"), late()).await.expect("accepted");
    rig.clock.shift(61_000);
    let again = rig.engine.submit(origin_with_key("k"), late()).await.expect("the same job");
    assert_eq!(again.key, accepted.key);
    assert!(matches!(rig.engine.submit(origin_with_key("other"), late()).await, Err(EngineError::Invalid(_))));
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_outcome() {
    let rig = Rig::new().await;
    rig.work();
    let batch = vec![
        request("sleep", json!({"ms": 0})),
        request("no_such_type", json!({})),
        request("sleep", json!({"ms": "soon"})),
        with("sleep", json!({"ms": 0}), json!({"queue": "no_such_queue"})),
        request("sleep", json!({"ms": 0})),
    ];
    let outcomes = rig.engine.submit_batch(Origin::default(), (0..).zip(batch).collect()).await;
    assert!(matches!(outcomes[1], Err(EngineError::UnknownJobType(ref name)) if name == "no_such_type"));
    assert!(matches!(outcomes[2], Err(EngineError::Invalid(ref errors)) if errors[0].pointer == "/payload/ms"));
    assert!(matches!(outcomes[3], Err(EngineError::UnknownQueue(_))));
    for outcome in [&outcomes[0], &outcomes[4]] {
        rig.reaches(&outcome.as_ref().expect("accepted").key, State::Succeeded).await;
    }
}

#[tokio::test]
async fn a_large_text_is_streamed_in_and_counted() {
    let rig = Rig::new().await;
    rig.work();
    let line = "the quick brown fox jumps over the lazy dog\n";
    let (send, parts) = mpsc::channel(4);
    let sent = async {
        for _ in 0..300 {
            send.send(TextPart::Chunk(line.repeat(100).into())).await.expect("taken");
        }
        send.send(TextPart::End).await.expect("taken");
    };
    let (job, ()) =
        tokio::join!(rig.engine.submit_text(Origin::default(), request("word_count", json!({"top": 1})), parts), sent);
    let key = job.expect("accepted").key;
    rig.reaches(&key, State::Succeeded).await;
    let result = rig.result(&key).await;
    assert_eq!((&result["words"], &result["lines"]), (&json!(9 * 30_000), &json!(30_000)));
    assert_eq!(result["top_words"], json!([{"word": "the", "count": 60_000}]));
}

#[tokio::test]
async fn nothing_is_kept_of_a_text_that_breaks_off_or_is_not_utf8() {
    let rig = Rig::new().await;
    let good = bytes::Bytes::from(vec![b'a'; 100_000]);
    let submit = |parts| rig.engine.submit_text(Origin::default(), request("word_count", json!({})), parts);
    let (send, parts) = mpsc::channel(4);
    send.send(TextPart::Chunk(good.clone())).await.expect("taken");
    drop(send);
    assert!(matches!(submit(parts).await, Err(EngineError::TextBrokeOff)));
    let (send, parts) = mpsc::channel(4);
    send.send(TextPart::Chunk(good)).await.expect("taken");
    send.send(TextPart::Chunk(b"\xe2\x82".as_slice().into())).await.expect("taken");
    send.send(TextPart::End).await.expect("taken");
    assert!(matches!(submit(parts).await, Err(EngineError::InvalidUtf8 { offset: 100_000 })));
    assert_eq!(rig.store.counts(None).await.expect("counts"), []);
    let far = rig.clock.now() + Duration::from_secs(1_000_000);
    assert_eq!(rig.store.collect_blobs(far, far, 100).await.expect("collected"), 0, "no blob was left behind");
}

#[tokio::test]
async fn a_large_payload_and_a_large_result_come_back_whole() {
    let rig = Rig::new().await;
    rig.work();
    let text = "word ".repeat(100_000);
    let counted = rig.submit(request("word_count", json!({ "text": text }))).await;
    let filled = rig.submit(request("fill", json!(300_000))).await;
    rig.reaches(&counted, State::Succeeded).await;
    assert_eq!(rig.result(&counted).await["words"], json!(100_000));
    let payload = rig.engine.payload(&counted).await.expect("a payload");
    assert_eq!(payload, serde_json::to_vec(&json!({ "text": text })).expect("json"));
    rig.reaches(&filled, State::Succeeded).await;
    let result = rig.engine.result(&filled).await.expect("a result");
    assert_eq!(result.bytes, 300_002);
    let chunks: Vec<_> = futures::StreamExt::collect(result.chunks).await;
    assert_eq!(chunks.iter().map(|chunk| chunk.as_ref().expect("a chunk").len()).sum::<usize>(), 300_002);
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let queue = gristmill_common::QueueName::default();
    rig.engine.pause_queue(&queue).await.expect("paused");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.job(&key).await.state, State::Queued);
    rig.engine.resume_queue(&queue).await.expect("resumed");
    rig.reaches(&key, State::Succeeded).await;
    let unknown = rig.engine.pause_queue(&"nowhere".parse().expect("a name")).await;
    assert!(matches!(unknown, Err(EngineError::NoSuchQueue)));
}

#[tokio::test]
async fn the_statistics_tell_what_happened() {
    let rig = Rig::new().await;
    rig.work();
    for _ in 0..20 {
        let key = rig.submit(request("sleep", json!({"ms": 5}))).await;
        rig.reaches(&key, State::Succeeded).await;
    }
    let stats = rig.engine.stats(&tenant("default")).await.expect("statistics");
    assert_eq!(stats.counts.succeeded, 20);
    assert!((stats.finished_per_second - 2.0).abs() < f64::EPSILON, "{stats:?}");
    let running = stats.running_ms.expect("running times");
    assert!(running.samples == 20 && running.p50 >= 5.0, "{running:?}");
    let other = rig.engine.stats(&tenant("other")).await.expect("statistics");
    assert_eq!((other.counts.succeeded, other.running_ms), (0, None));
}

#[tokio::test]
async fn a_worker_says_that_it_lives_and_goes_with_a_goodbye() {
    let rig = Rig::new().await;
    let worker = rig.work_with(WorkerConfig { concurrency: 3, ..WorkerConfig::default() });
    let workers = eventually("a worker", || async {
        Some(rig.engine.workers().await.expect("workers")).filter(|workers| !workers.is_empty())
    })
    .await;
    assert_eq!((workers[0].slots, workers[0].running), (3, 0));
    assert!(workers[0].types.iter().any(|name| name.as_str() == "word_count"));
    rig.shutdown.cancel();
    worker.await.expect("stopped");
    assert!(rig.engine.workers().await.expect("workers").is_empty());
}
