//! The lines that handlers log.

use gristmill_common::http::LogLine;

use super::{Backend, at, insert, job};

fn line(n: u32) -> LogLine {
    LogLine { at: at(u64::from(n)), attempt: n % 3, message: format!("line {n} ☕") }
}

/// Lines for several jobs may come together; each log has its own, in the order in which they came.
pub async fn lines_come_back_in_order(backend: &dyn Backend) {
    let store = backend.open().await;
    let (one, other) = (job(at(0)), job(at(0)));
    let (a, b, nobody) = (one.job.key.clone(), other.job.key.clone(), job(at(0)).job.key);
    insert(&store, [one, other]).await;
    let lines = vec![(a.clone(), line(1)), (b.clone(), line(2)), (nobody.clone(), line(3)), (a.clone(), line(4))];
    store.append_logs(lines).await.expect("lines");
    store.append_logs(vec![(a.clone(), line(0))]).await.expect("a line");
    assert_eq!(store.logs(&a).await.expect("a log"), [line(1), line(4), line(0)]);
    assert_eq!(store.logs(&b).await.expect("a log"), [line(2)]);
    assert!(store.logs(&nobody).await.expect("no log").is_empty());
}

/// A log keeps its first 1,000 lines, however they come.
pub async fn a_log_keeps_its_first_lines(backend: &dyn Backend) {
    let store = backend.open().await;
    let (talker, next) = (job(at(0)), job(at(0)));
    let (key, next_key) = (talker.job.key.clone(), next.job.key.clone());
    insert(&store, [talker, next]).await;
    let all: Vec<LogLine> = (0..1_010).map(line).collect();
    for some in all.chunks(333) {
        let lines = some.iter().map(|line| (key.clone(), line.clone())).collect();
        store.append_logs(lines).await.expect("lines");
    }
    store.append_logs(vec![(key.clone(), line(2_000)), (next_key.clone(), line(1))]).await.expect("lines");
    assert_eq!(store.logs(&key).await.expect("a log"), all[..1_000]);
    assert_eq!(store.logs(&next_key).await.expect("a log"), [line(1)]);
}
