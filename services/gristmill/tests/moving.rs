//! Moving up: everything in an embedded server's folder into the store of a fleet, broken off on the way; and the
//! backup of a server at work.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use gristmill_testkit::{Answer, Http, Process, ProcessBuilder, ServerBuilder, World, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");
/// Jobs that have ended before the move, beside those of every other kind.
const ENDED: usize = 2_000;
/// Jobs that wait in a paused queue.
const HELD: usize = 1_000;

/// A command that ends by itself.
fn run(arguments: &[&OsStr]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("the program runs")
}

/// A command that must succeed; what it prints.
fn succeed(arguments: &[&OsStr]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A command that must fail, with this in its error.
fn refused(arguments: &[&OsStr], why: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains(why), "{said}");
}

/// Starts a command and kills it as soon as it says on stderr that it has done something.
fn kill_in_the_middle(arguments: &[&OsStr], word: &str) {
    let mut command = Command::new(PROGRAM);
    let mut child = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(child.stderr.take().expect("its stderr")).lines();
    let said = lines.map_while(Result::ok).find(|line| line.starts_with(word));
    child.kill().expect("killed");
    assert!(said.is_some(), "it said how far it had come");
    assert!(!child.wait().expect("it ends").success(), "it was killed before its end");
}

fn export<'a>(data: &'a Path, archive: &'a Path) -> [&'a OsStr; 7] {
    let [command, from, to, size, jobs] = ["export", "--data", "--to", "--segment-jobs", "50"].map(OsStr::new);
    [command, from, data.as_ref(), to, archive.as_ref(), size, jobs]
}

fn import<'a>(archive: &'a Path, store: &'a str) -> [&'a OsStr; 5] {
    let [command, from, to] = ["import", "--from", "--store"].map(OsStr::new);
    [command, from, archive.as_ref(), to, store.as_ref()]
}

fn backup<'a>(data: &'a Path, to: &'a Path) -> [&'a OsStr; 5] {
    let [command, from, into] = ["backup", "--data", "--to"].map(OsStr::new);
    [command, from, data.as_ref(), into, to.as_ref()]
}

/// Submits many jobs at once.
async fn submit_all(http: &Http, jobs: Vec<Value>) {
    for jobs in jobs.chunks(1_000) {
        let answer = http.post("/jobs/batch", &json!({ "jobs": jobs })).await.expect(202);
        assert!(answer.items().iter().all(|item| item["status"] == 202), "{}", answer.text);
    }
}

/// Jobs of every kind: thousands that have ended, thousands that wait, large bodies, and one that runs.
async fn populate(http: &Http) {
    http.send(Method::PUT, "/queues/held").await;
    let _ = http.send(Method::POST, "/queues/held/pause").await.expect(200);
    let ended = |n| json!({"type": "sleep", "payload": {"ms": 0}, "tags": [format!("n-{n}")]});
    submit_all(http, (0..ENDED).map(ended).collect()).await;
    let held = |n| json!({"type": "sleep", "payload": {"ms": n % 3}, "queue": "held", "tags": [format!("held-{n}")]});
    submit_all(http, (0..HELD).map(held).collect()).await;
    // A thousand different words of a hundred letters: more than fits beside a job, as payload, text and result.
    let large: String = (0..1_000).map(|n| format!("{n:097}☂ ")).collect();
    submit_all(
        http,
        vec![
            json!({"type": "word_count", "payload": {"text": large, "top": 1_000}}),
            json!({"type": "word_count", "payload": {"text": large}, "queue": "held"}),
            json!({"type": "fail", "payload": {"message": "on purpose"}, "max_attempts": 1}),
            json!({"type": "sleep", "payload": {"ms": 1}, "delay_ms": 3_600_000}),
            json!({"type": "sleep", "payload": {"ms": 1}, "queue": "held", "deadline": "2999-01-01T00:00:00Z"}),
        ],
    )
    .await;
    let text = http.call(Method::POST, "/jobs?type=word_count").header("Content-Type", "text/plain").body(large);
    let _ = Answer::of(text).await.expect(202);
    let cancelled = http.submit(json!({"type": "sleep", "payload": {"ms": 1}, "delay_ms": 3_600_000})).await;
    http.send(Method::POST, &format!("/jobs/{cancelled}/cancel")).await;
    eventually("what may run has ended", || async {
        let counts = http.get("/stats").await.expect(200).json["counts"].clone();
        (counts["running"] == 0 && counts["queued"].as_u64() == Some(HELD as u64 + 2)).then_some(())
    })
    .await;
    let running = http.submit(json!({"type": "sleep", "payload": {"ms": 1_500}})).await;
    http.reached(&running, "running").await;
}

/// Every job by its id, with its payload and its result as text, but for most of the many that are alike: the import
/// compares those.
async fn all_jobs(http: &Http) -> BTreeMap<String, (Value, String)> {
    let (mut jobs, mut call) = (BTreeMap::new(), "/jobs?limit=500".to_owned());
    loop {
        let page = http.get(&call).await.expect(200);
        for job in page.items() {
            let id = job["id"].as_str().expect("an id").to_owned();
            let is_alike = job["tags"][0].as_str().is_some_and(|tag| !tag.ends_with("00"));
            let bodies = if is_alike { String::new() } else { bodies(http, &id).await };
            jobs.insert(id, (job.clone(), bodies));
        }
        match page.json["next_cursor"].as_str() {
            Some(cursor) => call = format!("/jobs?limit=500&cursor={cursor}"),
            None => return jobs,
        }
    }
}

/// A job's payload and result, as they are sent: not what they mean, but their text.
async fn bodies(http: &Http, id: &str) -> String {
    let job = http.get(&format!("/jobs/{id}?include=payload")).await.expect(200).text;
    let (_, payload) = job.split_once("\"payload\":").expect("a payload");
    let result = http.get(&format!("/jobs/{id}/result")).await;
    format!("{payload}\n{}", if result.status == 200 { &result.text } else { "" })
}

/// `gristmill serve` on the servers of a fleet.
async fn serve(world: &World) -> (Process, Http) {
    let builder = ["serve", "--listen", "127.0.0.1:0"]
        .into_iter()
        .fold(ProcessBuilder::new(PROGRAM), |builder, word| builder.argument(word));
    let mut process = builder
        .with("store.url", world.store_url())
        .with("broker.url", world.broker_url())
        .with("log.filter", "warn")
        .spawn()
        .expect("a server");
    let url = process.ready().await.expect("it is ready");
    (process, Http::new(&url))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_into_the_store_of_a_fleet_though_both_moves_are_killed_in_the_middle() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, archive) = (place.path().join("data"), place.path().join("archive"));
    let world = World::new().await.expect("a world");
    let server = ServerBuilder::new(PROGRAM, &data).with("worker.lease_ms", 2_000).with("worker.heartbeat_ms", 500);
    let server = server.with("log.filter", "warn").start().await.expect("a server");
    populate(&server.http()).await;
    refused(&export(&data, &archive), "is in use by another process");
    let before = all_jobs(&server.http()).await;
    server.kill().await.expect("killed");

    kill_in_the_middle(&export(&data, &archive), "exported");
    refused(&import(&archive, world.store_url()), "is not complete");
    let said = succeed(&export(&data, &archive));
    assert!(said.contains("were there already"), "{said}");
    kill_in_the_middle(&import(&archive, world.store_url()), "imported");
    let said = succeed(&import(&archive, world.store_url()));
    let total = before.len();
    let row: Vec<&str> = said.lines().find(|line| line.starts_with("all")).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["all", &total.to_string(), &total.to_string(), "0", "0", "0"], "{said}");
    let stored = said.lines().last().and_then(|line| line.split(' ').next()?.parse::<usize>().ok());
    assert!(stored.is_some_and(|stored| stored > 0 && stored < total), "{said}");

    let (mut process, http) = serve(&world).await;
    let queues = http.get("/queues").await.expect(200);
    let held = queues.items().iter().find(|queue| queue["name"] == "held").expect("the queue");
    assert_eq!(held["paused"], true);
    let after = all_jobs(&http).await;
    assert_eq!(before.len(), after.len());
    let mut states: HashMap<&str, usize> = HashMap::new();
    for (id, (job, bodies)) in &before {
        let (moved, moved_bodies) = &after[id];
        let state = job["state"].as_str().expect("a state");
        *states.entry(state).or_default() += 1;
        // What ran runs again, and ends.
        if state != "running" {
            assert_eq!((moved, moved_bodies), (job, bodies));
        }
    }
    assert_eq!(states.len(), 6, "there was a job of every state: {states:?}");

    let _ = http.send(Method::POST, "/queues/held/resume").await.expect(200);
    eventually("what waited has ended", || async {
        let counts = http.get("/stats").await.expect(200).json["counts"].clone();
        (counts["running"] == 0 && counts["queued"] == 0 && counts["scheduled"] == 1).then_some(())
    })
    .await;
    let ended = all_jobs(&http).await;
    for (id, (job, _)) in &before {
        let waited = matches!(job["state"].as_str(), Some("queued" | "running"));
        if waited {
            assert_eq!(ended[id].0["state"], "succeeded");
        }
    }
    // A comparison now finds every job, and that some have moved on.
    let said = succeed(&import(&archive, world.store_url()));
    assert!(said.lines().last().is_some_and(|line| line.starts_with("0 jobs were stored")), "{said}");
    assert!(process.terminate().await.expect("stopped").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_at_work_has_what_was_accepted_before() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, copy) = (place.path().join("data"), place.path().join("copy"));
    let server = ServerBuilder::new(PROGRAM, &data).with("log.filter", "warn").start().await.expect("a server");
    let (accepted, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let clients = (0..8).map(|_| {
        let (http, accepted, over) = (server.http(), accepted.clone(), over.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let id = http.submit(json!({"type": "sleep", "payload": {"ms": 1}})).await;
                accepted.lock().expect("not poisoned").push(id);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let count = || accepted.lock().expect("not poisoned").len();
    eventually("jobs are accepted", || async { (count() >= 1_000).then_some(()) }).await;
    let before = accepted.lock().expect("not poisoned").clone();
    let (from, to) = (data.clone(), copy.clone());
    let said = tokio::task::spawn_blocking(move || succeed(&backup(&from, &to))).await.expect("a backup");
    assert!(said.contains(", checked"), "{said}");
    let then = count();
    eventually("the server goes on", || async { (count() >= then + 100).then_some(()) }).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    refused(&backup(&data, &copy), "is there already");
    server.kill().await.expect("killed");

    let restored = ServerBuilder::new(PROGRAM, &copy).start().await.expect("a server on the copy");
    let http = restored.http();
    for id in &before {
        assert_eq!(http.ended(id).await["state"], "succeeded");
    }
    assert!(restored.terminate().await.expect("stopped").success());
}

#[tokio::test]
async fn a_damaged_archive_and_a_store_that_is_away_are_told_in_a_line() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, archive) = (place.path().join("data"), place.path().join("archive"));
    let server = ServerBuilder::new(PROGRAM, &data).start().await.expect("a server");
    let id = server.http().submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    server.http().ended(&id).await;
    assert!(server.terminate().await.expect("stopped").success());
    succeed(&export(&data, &archive));
    let segment = archive.join("segments/000001.jsonl");
    let sound = fs::read_to_string(&segment).expect("a segment");
    let target = format!("sqlite://{}", place.path().join("target").display());
    fs::write(&segment, sound.replace("succeeded", "cancelled")).expect("written");
    refused(&import(&archive, &target), "000001.jsonl");
    fs::write(&segment, sound).expect("written");
    refused(&import(&archive, "redis://localhost"), "is no store");
    refused(&import(&archive, &format!("sqlite://{}", archive.join("manifest.json").display())), "cannot be used");
    succeed(&import(&archive, &target));
    refused(&backup(&archive, &place.path().join("copy")), "is no data folder");
    assert!(!place.path().join("copy").exists());
}
