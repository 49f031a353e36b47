//! A process killed at each arrow of the architecture's drawing, while a proxy holds what goes along it. Before: it never
//! arrives. After, for a call of the store: it was carried out, and its answer never arrives. After, for a message: it is
//! let go right before the kill, so a process may die before it has read it.

use std::time::Duration;

use anyhow::Context as _;
use gristmill_testkit::{Held, Kind, Proxy, Spot, World};

use super::{builder, judge, store_of};
use crate::{load::Load, tally::Tally};

/// Long enough for some heartbeats.
const LONGEST_MS: u64 = 3_000;
/// Within this time of the wish there is something to hold.
const CAUGHT_WITHIN: Duration = Duration::from_secs(30);
/// A dispatch, as RabbitMQ carries it.
const DISPATCH: &[u8] = b"\"claims\":";
/// Basic.Ack, class 60 and method 80 of AMQP 0-9-1: a confirm when the server sends it, an ack when the client does.
const ACK: &[u8] = &[0, 60, 0, 80];

/// A rescue, in a job's history.
const RESCUE: &[u8] = b"\x02what\0\x08\0\0\0rescued\0";

/// Which server it leads to.
#[derive(Clone, Copy)]
enum Server {
    Store,
    Broker,
}

/// When the process is killed.
#[derive(Clone, Copy)]
enum When {
    /// What is held never arrives.
    Before,
    /// What is held has been let go.
    After,
}

/// An arrow, and how to catch what goes along it.
struct Arrow {
    name: &'static str,
    from: Kind,
    to: Server,
    spot: Spot,
    when: When,
    bytes: &'static [u8],
}

impl Arrow {
    /// A call of the store: before it arrives, and after it was carried out and not answered yet.
    const fn call(name: &'static str, when: When, from: Kind, bytes: &'static [u8]) -> Self {
        let (spot, when) = match when {
            When::Before => (Spot::Request, When::Before),
            // The answer never arrives.
            When::After => (Spot::Reply, When::Before),
        };
        Self { name, from, to: Server::Store, spot, when, bytes }
    }

    /// A change that a duty makes, known by the word that it adds to a job's history.
    const fn duty(name: &'static str, when: When, bytes: &'static [u8]) -> Self {
        Self::call(name, when, Kind::Scheduler, bytes)
    }

    const fn message(name: &'static str, when: When, from: Kind, spot: Spot, bytes: &'static [u8]) -> Self {
        Self { name, from, to: Server::Broker, spot, when, bytes }
    }
}

/// BSON: an element of type text (2), its name and the length of what it says; or a document (3).
const ARROWS: [Arrow; 22] = [
    Arrow::call("killed before insert", When::Before, Kind::Api, b"\x02insert\0\x05\0\0\0jobs\0"),
    Arrow::call("killed after insert", When::After, Kind::Api, b"\x02insert\0\x05\0\0\0jobs\0"),
    Arrow::message("killed before publish", When::Before, Kind::Api, Spot::Request, DISPATCH),
    Arrow::message("killed after publish", When::After, Kind::Api, Spot::Request, DISPATCH),
    Arrow::message("killed before confirm", When::Before, Kind::Api, Spot::Push, ACK),
    Arrow::message("killed after confirm", When::After, Kind::Api, Spot::Push, ACK),
    Arrow::message("killed before deliver", When::Before, Kind::Worker, Spot::Push, DISPATCH),
    Arrow::message("killed after deliver", When::After, Kind::Worker, Spot::Push, DISPATCH),
    Arrow::call("killed before claim", When::Before, Kind::Worker, b"\x02worker\0"),
    Arrow::call("killed after claim", When::After, Kind::Worker, b"\x02worker\0"),
    Arrow::message("killed before ack", When::Before, Kind::Worker, Spot::Request, ACK),
    Arrow::message("killed after ack", When::After, Kind::Worker, Spot::Request, ACK),
    Arrow::call("killed before renew", When::Before, Kind::Worker, b"\x03$max\0"),
    Arrow::call("killed after renew", When::After, Kind::Worker, b"\x03$max\0"),
    Arrow::call("killed before settle", When::Before, Kind::Worker, b"\x02settled_by\0"),
    Arrow::call("killed after settle", When::After, Kind::Worker, b"\x02settled_by\0"),
    Arrow::duty("killed before due", When::Before, b"\x02what\0\x04\0\0\0due\0"),
    Arrow::duty("killed after due", When::After, b"\x02what\0\x04\0\0\0due\0"),
    Arrow::message("killed before feed", When::Before, Kind::Scheduler, Spot::Request, DISPATCH),
    Arrow::message("killed after feed", When::After, Kind::Scheduler, Spot::Request, DISPATCH),
    Arrow::duty("killed before rescue", When::Before, RESCUE),
    Arrow::duty("killed after rescue", When::After, RESCUE),
];

/// A proxy before each server, for the processes of one kind.
struct Proxies {
    store: Proxy,
    broker: Proxy,
}

impl Proxies {
    fn hold(&self, arrow: &Arrow) -> Held {
        match arrow.to {
            Server::Store => self.store.hold(arrow.spot, arrow.bytes),
            Server::Broker => self.broker.hold(arrow.spot, arrow.bytes),
        }
    }
}

/// Kills at each arrow, so many times.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally, rounds: usize) -> anyhow::Result<()> {
    let world = World::new().await?;
    let proxies = [before(&world).await?, before(&world).await?, before(&world).await?];
    let mut builder = builder()?
        .count(Kind::Api, 1)
        .count(Kind::Worker, 1)
        .count(Kind::Scheduler, 1)
        .with("worker.lease_ms", 3_000)
        .with("worker.heartbeat_ms", 800);
    for (kind, proxies) in Kind::ALL.into_iter().zip(&proxies) {
        let store = world.store_url_through(&proxies.store.address().to_string());
        let broker = world.broker_url_through(&proxies.broker.address().to_string());
        builder = builder.with_for(kind, "store.url", store).with_for(kind, "broker.url", broker);
    }
    let mut fleet = builder.start(world).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    for arrow in ARROWS.iter().cycle().take(rounds * ARROWS.len()) {
        let mut held = proxies[arrow.from as usize].hold(arrow);
        if arrow.bytes == RESCUE {
            // Somebody must be lost, or nobody is rescued.
            fleet.process(Kind::Worker, 0).kill().await?;
            fleet.restart(Kind::Worker, 0).await?;
        }
        tokio::time::timeout(CAUGHT_WITHIN, held.caught())
            .await
            .with_context(|| format!("{}: nothing came", arrow.name))??;
        match arrow.when {
            When::Before => {
                fleet.process(arrow.from, 0).kill().await?;
                drop(held);
            }
            When::After => {
                held.pass();
                fleet.process(arrow.from, 0).kill().await?;
            }
        }
        tally.injected(arrow.name);
        fleet.restart(arrow.from, 0).await?;
    }
    judge("arrows", load, &*store, tally).await
}

async fn before(world: &World) -> anyhow::Result<Proxies> {
    let (store, broker) = (Proxy::start(world.store_address()).await?, Proxy::start(world.broker_address()).await?);
    Ok(Proxies { store, broker })
}
