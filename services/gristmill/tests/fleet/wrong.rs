//! Settings that name the right servers and are refused there: said in a line, without the password.

use std::time::Duration;

use gristmill_testkit::{FleetBuilder, Http, Kind, World};

use crate::{Complaints, fleet, turn};

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
