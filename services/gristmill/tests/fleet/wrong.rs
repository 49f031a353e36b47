//! What waiting does not mend, and somebody has to put right: each is said in a line, and shown by a red readiness. The
//! programs go on, and get ready by themselves when it has been put right.

use std::{net::TcpListener, time::Duration};

use gristmill_testkit::{FleetBuilder, Http, Kind, Manner, Process, Proxy, World, eventually};
use serde_json::json;

use crate::{
    Complaints,
    by_hand::{RabbitQueue, broker_address, broker_url_through, run_on_database},
    fleet, turn,
};

/// How long the programs are left alone after that: once is enough.
const ALONE: Duration = Duration::from_secs(5);
const PASSWORD: &str = "open-sesame";

/// With another user and password.
fn as_nobody(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://nobody:{PASSWORD}@{host}{}", &rest[end..])
}

/// What is wrong, who has it, and how it is told.
struct Case {
    kinds: &'static [Kind],
    builder: FleetBuilder,
    told_by: &'static str,
    in_words: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_virtual_host_are_said_in_a_line() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    // An API does its work without a broker, and is ready.
    let with_broker: &[Kind] = &[Kind::Worker, Kind::Scheduler];
    let cases = [
        Case {
            kinds: with_broker,
            builder: fleet().with("broker.url", as_nobody(world.broker_url())),
            told_by: "gristmill_broker",
            in_words: "login was refused",
        },
        Case {
            kinds: with_broker,
            builder: fleet().with("broker.url", format!("{}-nowhere", world.broker_url())),
            told_by: "gristmill_broker",
            in_words: "vhost",
        },
        Case {
            kinds: &Kind::ALL,
            builder: fleet().with("store.url", as_nobody(world.store_url())),
            told_by: "gristmill_storage",
            in_words: "password",
        },
    ];
    let mut programs = Vec::new();
    for case in &cases {
        for &kind in case.kinds {
            let mut program = case.builder.process(kind, &world).spawn().expect("a process");
            let http = Http::new(&program.url().await.expect("it listens"));
            programs.push((kind, case, program, http));
        }
    }
    for (_, case, program, _) in &programs {
        Complaints::come(program, case.told_by).await;
    }
    tokio::time::sleep(ALONE).await;
    for (kind, case, program, http) in &mut programs {
        let health = async |path: &str| http.try_get(path).await.expect("an answer").status;
        assert_eq!((health("/health/live").await, health("/health/ready").await), (200, 503), "{kind:?}");
        assert_eq!(program.ended().expect("known"), None, "{kind:?} goes on");
        let log = program.log();
        assert!(!log.iter().any(|line| line.contains(PASSWORD)), "{kind:?} logs a password: {log:#?}");
        let line = Complaints::of(program).line_of(case.told_by);
        assert!(line.to_lowercase().contains(case.in_words), "{line}");
        println!("{kind:?}: {line}");
    }
}

/// One of each kind, where something is wrong.
struct Sufferers {
    world: World,
    builder: FleetBuilder,
    /// Who tells of it, and how.
    told_by: &'static str,
    in_words: &'static str,
}

impl Sufferers {
    /// Starts them: each says what is wrong, once, and is red; and none ends.
    async fn start(&self) -> Vec<(Kind, Process)> {
        let mut programs = Vec::new();
        for kind in Kind::ALL {
            programs.push((kind, self.builder.process(kind, &self.world).spawn().expect("a process")));
        }
        for (kind, program) in &mut programs {
            program.url().await.unwrap_or_else(|error| panic!("{kind:?} listens: {error}"));
            Complaints::come(program, self.told_by).await;
        }
        tokio::time::sleep(ALONE).await;
        for (kind, program) in &mut programs {
            let complaints = Complaints::of(program);
            complaints.none_is_repeated();
            let line = complaints.line_of(self.told_by);
            assert!(line.contains(self.in_words), "{line}");
            println!("{kind:?}: {line}");
            let http = Http::new(&program.url().await.expect("it listens"));
            let health = async |path: &str| http.try_get(path).await.expect("an answer").status;
            // An API does its work without a broker, and is ready.
            let is_ready = *kind == Kind::Api && self.told_by == "gristmill_broker";
            let ready = if is_ready { 200 } else { 503 };
            assert_eq!((health("/health/live").await, health("/health/ready").await), (200, ready), "{kind:?}");
            assert_eq!(program.ended().expect("known"), None, "{kind:?} goes on");
        }
        programs
    }

    /// It has been put right: they get ready, and work.
    async fn recover(&self, mut programs: Vec<(Kind, Process)>) {
        let mut urls = Vec::new();
        for (kind, program) in &mut programs {
            urls.push(program.ready().await.unwrap_or_else(|error| panic!("{kind:?}: {error}")));
        }
        let http = Http::new(&urls[Kind::Api as usize]);
        let job = http.ended(&http.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_schema_is_refused_until_it_is_ours() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let sufferers =
        Sufferers { world, builder: fleet(), told_by: "gristmill_storage", in_words: "schema is version 99" };
    let set_version = |version: u32| {
        let update = json!([{"q": {"_id": "schema"}, "u": {"$set": {"version": version}}, "upsert": true}]);
        run_on_database(&sufferers.world, &[("update", json!("schema")), ("updates", update)]);
    };
    set_version(99);
    let programs = sufferers.start().await;
    set_version(1);
    sufferers.recover(programs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_in_the_way_is_named_until_it_is_dropped() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let indexes = json!([{"key": {"state": 1}, "name": "duties"}]);
    run_on_database(&world, &[("createIndexes", json!("jobs")), ("indexes", indexes)]);
    let sufferers = Sufferers { world, builder: fleet(), told_by: "gristmill_storage", in_words: "the index `duties`" };
    let programs = sufferers.start().await;
    run_on_database(&sufferers.world, &[("dropIndexes", json!("jobs")), ("index", json!("duties"))]);
    sufferers.recover(programs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named_until_it_is_deleted() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let queue = RabbitQueue::of(&world, "gristmill.default.normal");
    queue.declare_otherwise().await;
    // Others are well: what is said of this one is said once all the same.
    let builder = fleet().with("queues.declared", "default,other");
    let sufferers = Sufferers { world, builder, told_by: "gristmill_broker", in_words: "other arguments: delete it" };
    let programs = sufferers.start().await;
    queue.delete().await;
    sufferers.recover(programs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nothing_is_told_from_one_that_is_away() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let proxy = Proxy::start(&broker_address(&world)).await.expect("a proxy");
    proxy.treat(Manner::Hang);
    let builder = fleet().with("broker.url", broker_url_through(&world, proxy.address()));
    let sufferers = Sufferers { world, builder, told_by: "gristmill_broker", in_words: "no AMQP greeting within" };
    let programs = sufferers.start().await;
    proxy.treat(Manner::Forward);
    sufferers.recover(programs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_a_program_with_a_line() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let line = format!("error: http.listen: {address} cannot be taken: ");
    for kind in Kind::ALL {
        let mut program = fleet().with("http.listen", &address).process(kind, &world).spawn().expect("a process");
        assert_eq!(program.wait().await.expect("it ends by itself").code(), Some(1), "{kind:?}");
        eventually("it says why", || async { program.log().iter().any(|said| said.starts_with(&line)).then_some(()) })
            .await;
        assert_eq!(Complaints::of(&program).count(), 0, "{kind:?} says nothing else");
    }
}
