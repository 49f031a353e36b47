//! The endpoints, asked over HTTP.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gristmill_common::breaker::{Reading, State};
use gristmill_runtime::{
    health::{self, CheckResult, Readiness, Report, Status},
    telemetry::Metrics,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

struct Server {
    base: String,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(readiness: Readiness) -> Self {
        let metrics = Metrics::install().expect("one recorder");
        let free = "127.0.0.1:0".parse().expect("an address");
        let server = health::bind(free, readiness, metrics).expect("a free port");
        let (base, shutdown) = (format!("http://{}", server.address()), CancellationToken::new());
        Self { base, running: tokio::spawn(server.run(shutdown.clone())), shutdown }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.base)).await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("text"))
    }

    async fn report(&self) -> (u16, Report) {
        let (status, text) = self.get("/health/ready").await;
        (status, serde_json::from_str(&text).expect("a report"))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let ended = timeout(Duration::from_secs(10), self.running).await.expect("in time").expect("no panic");
        ended.expect("an orderly end");
    }
}

fn checks(results: &[(&str, CheckResult)]) -> BTreeMap<String, CheckResult> {
    results.iter().map(|(name, result)| ((*name).to_owned(), result.clone())).collect()
}

#[tokio::test]
async fn a_well_process_is_live_and_ready_and_shows_its_metrics() {
    let server = Server::start(Readiness::new().with("store", || async { Ok::<(), String>(()) }));
    assert_eq!(server.get("/health/live").await, (200, r#"{"status":"live"}"#.to_owned()));
    let ready = r#"{"status":"ready","checks":{"store":{"status":"ok"}}}"#;
    assert_eq!(server.get("/health/ready").await, (200, ready.to_owned()));
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("gristmill_build_info"), "{text}");
    assert_eq!(server.get("/elsewhere").await.0, 404);
    let posted = reqwest::Client::new().post(format!("{}/health/live", server.base)).send().await.expect("an answer");
    assert_eq!(posted.status(), 405);
    server.stop().await;
}

#[tokio::test]
async fn a_check_that_fails_or_panics_makes_it_unready_and_the_reason_stays_in_the_log() {
    let readiness = Readiness::new()
        .with("good", || async { Ok::<(), String>(()) })
        .with("bad", || async { Err("password hunter2") })
        .with("worse", || async {
            assert_eq!(1, 2, "a check that panics");
            Ok::<(), String>(())
        });
    let server = Server::start(readiness);
    let (status, text) = server.get("/health/ready").await;
    assert!(!text.contains("hunter2"), "{text}");
    let report: Report = serde_json::from_str(&text).expect("a report");
    assert_eq!((status, report.status), (503, Status::Unready));
    let expected = [("good", CheckResult::Ok), ("bad", CheckResult::Failed), ("worse", CheckResult::Failed)];
    assert_eq!(report.checks, checks(&expected));
    assert_eq!(server.get("/health/live").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_check_that_hangs_is_given_up_and_runs_once_however_many_ask() {
    let started = Arc::new(AtomicUsize::new(0));
    let release = CancellationToken::new();
    let (count, gate) = (started.clone(), release.clone());
    let readiness = Readiness::new().with("store", move || {
        count.fetch_add(1, Ordering::Relaxed);
        let gate = gate.clone();
        async move {
            gate.cancelled().await;
            Ok::<(), String>(())
        }
    });
    let server = Server::start(readiness);
    let (first, second) = tokio::join!(server.report(), server.report());
    for (status, report) in [first, second] {
        assert_eq!(status, 503);
        assert_eq!(report.checks, checks(&[("store", CheckResult::TimedOut)]));
    }
    assert_eq!(started.load(Ordering::Relaxed), 1);
    release.cancel();
    assert_eq!(server.report().await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_breaker_is_shown_and_measured_and_not_judged() {
    let opened = Arc::new(AtomicUsize::new(0));
    let read = {
        let opened = opened.clone();
        move || match opened.load(Ordering::Relaxed) {
            0 => Reading::default(),
            times => Reading { state: State::Open, opened: times as u64 },
        }
    };
    let readiness = Readiness::new().breaker("outside", read);
    let shutdown = CancellationToken::new();
    let measuring = tokio::spawn(readiness.clone().measure(shutdown.clone()));
    let server = Server::start(readiness);
    assert_eq!(server.report().await.1.breakers["outside"], State::Closed);
    opened.store(3, Ordering::Relaxed);
    let (status, text) = server.get("/health/ready").await;
    assert_eq!((status, text.as_str()), (200, r#"{"status":"ready","checks":{},"breakers":{"outside":"open"}}"#));
    let measured = async {
        let lines =
            [r#"gristmill_breaker_state{name="outside"} 1"#, r#"gristmill_breaker_opened_total{name="outside"} 3"#];
        loop {
            let metrics = server.get("/metrics").await.1;
            if lines.iter().all(|wanted| metrics.lines().any(|line| line == *wanted)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), measured).await.expect("it is measured");
    shutdown.cancel();
    timeout(Duration::from_secs(10), measuring).await.expect("in time").expect("no panic");
    server.stop().await;
}
