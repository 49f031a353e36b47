//! SIGTERM: each program ends with 0 in its time, and leaves nothing behind that others would have to wait for.

use std::time::{Duration, Instant};

use gristmill_testkit::{Answer, Fleet, Kind, World};
use reqwest::Method;
use serde_json::json;

use crate::{fleet, turn};

/// How long a worker lets its jobs go on.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a program may take beyond that.
const MARGIN: Duration = Duration::from_secs(4);

async fn terminate(fleet: &mut Fleet, kind: Kind, place: usize) -> Duration {
    let told = Instant::now();
    let status = fleet.process(kind, place).terminate().await.expect("stopped");
    assert!(status.success(), "{kind:?}: {status}\n{}", fleet.processes(kind)[place].log().join("\n"));
    told.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_program_stops_cleanly_and_gives_back_what_runs() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let builder = fleet().with_for(Kind::Worker, "worker.drain_ms", DRAIN.as_millis()).count(Kind::Worker, 1);
    let mut fleet = builder.start(world).await.expect("a fleet");
    let http = fleet.http();
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 60_000}})).await;
    assert_eq!(http.reached(&id, "running").await["attempt"], 1);
    fleet.add(Kind::Worker).await.expect("another worker");

    let worker = terminate(&mut fleet, Kind::Worker, 0).await;
    let back = Instant::now();
    let again = http.reached(&id, "running").await;
    let handed_over = back.elapsed();
    assert_eq!(again["attempt"], 1, "the first run is not charged");
    assert_eq!(http.history(&id).await, ["created", "claimed", "released", "claimed"]);

    let leader = fleet.leader().await.expect("a leader");
    let scheduler = terminate(&mut fleet, Kind::Scheduler, leader).await;
    let resigned = Instant::now();
    assert_ne!(fleet.leader().await.expect("a leader"), leader);
    let led_again = resigned.elapsed();

    // Whoever waits at a replica that stops is answered.
    let replica = gristmill_testkit::Http::new(&fleet.process(Kind::Api, 0).url().await.expect("it listens"));
    let request = replica.call(Method::GET, &format!("/jobs/{id}")).header("Prefer", "wait=25");
    let waiting = tokio::spawn(Answer::of(request));
    // Sent over another connection, and answered: the first has arrived as well, or soon will have.
    let _ = replica.get("/stats").await.expect(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let api = terminate(&mut fleet, Kind::Api, 0).await;
    assert_eq!(waiting.await.expect("no panic").expect(200).json["state"], "running");
    // The gateway finds the other.
    for _ in 0..4 {
        let _ = http.get("/stats").await.expect(200);
    }
    assert!(worker < DRAIN + MARGIN && scheduler < MARGIN && api < MARGIN, "{worker:?}, {scheduler:?}, {api:?}");
    println!(
        "stopped: a worker within {worker:.2?}, the leader within {scheduler:.2?}, a replica within {api:.2?}; the job \
         ran elsewhere after {handed_over:.2?}, and another led after {led_again:.2?}"
    );
}
