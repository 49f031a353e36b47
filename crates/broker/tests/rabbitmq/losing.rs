//! Losing the connection in the middle of work, by way of a proxy.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_broker::{
    Broker, Heard, Published,
    conformance::{Backend, number_of},
};
use gristmill_common::{JobId, State, job::JobKey, message::JobEvent};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{Rabbit, address, band, connected, dispatches, eventually, fresh_queue, server_at, trouble};

/// What the proxy does with connections.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Hands everything on.
    Open,
    /// Ends them, and lets none in.
    Cut,
    /// Keeps them, and hands nothing on.
    Silent,
}

struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, modes) = watch::channel(Mode::Open);
        tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                tokio::spawn(relay(inside, modes.clone()));
            }
        });
        Self { address, mode }
    }

    fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn relay(mut inside: TcpStream, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow() == Mode::Cut {
        return;
    }
    let mut outside = TcpStream::connect(address()).await.expect("the server");
    loop {
        let mode = *modes.borrow_and_update();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut inside, &mut outside), if mode == Mode::Open => return,
            changed = modes.changed() => if changed.is_err() || *modes.borrow() == Mode::Cut { return },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_outlives_a_connection_cut_in_the_middle_of_publishing() {
    const BATCH: u32 = 50;
    let (rabbit, proxy) = (Rabbit::new(), Proxy::start().await);
    let broker = rabbit.open_at(&server_at(proxy.address)).await;
    connected(&*broker).await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let mut confirmed = BTreeSet::new();
    let (mut cuts, mut failures) = (0, 0);
    for batch in 0..60 {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let publishing = {
            let (broker, queue, dispatches) = (broker.clone(), queue.clone(), dispatches(numbers.clone()));
            tokio::spawn(async move { broker.publish(&queue, dispatches).await })
        };
        if batch % 20 == 10 {
            tokio::task::yield_now().await;
            proxy.set(Mode::Cut);
            cuts += 1;
        }
        match publishing.await.expect("no panic") {
            Ok(outcomes) => {
                let outcomes = numbers.zip(outcomes);
                confirmed.extend(outcomes.filter(|(_, outcome)| *outcome == Published::Confirmed).map(|(n, _)| n));
            }
            Err(_) => failures += 1,
        }
        if batch % 20 == 12 {
            proxy.set(Mode::Open);
            connected(&*broker).await;
        }
    }
    assert!(cuts == 3 && failures > 0, "{cuts} cuts, {failures} failures");
    let mut consumer = broker.consume(&band(&queue), 1_000).await.expect("a consumer");
    let mut missing = confirmed;
    while !missing.is_empty() {
        let came = tokio::time::timeout(Duration::from_secs(10), consumer.recv(1_000)).await;
        let came = came.unwrap_or_else(|_| panic!("lost: {missing:?}")).expect("deliveries");
        consumer.ack(&came.iter().map(|delivery| delivery.tag).collect::<Vec<_>>());
        missing.retain(|number| !came.iter().any(|delivery| number_of(&delivery.dispatch) == *number));
    }
}

#[tokio::test]
async fn a_consumer_errs_when_its_connection_is_cut_and_the_next_gets_everything() {
    let (rabbit, proxy) = (Rabbit::new(), Proxy::start().await);
    let broker = rabbit.open_at(&server_at(proxy.address)).await;
    connected(&*broker).await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    broker.publish(&queue, dispatches(0..10)).await.expect("published");
    let mut consumer = broker.consume(&band(&queue), 5).await.expect("a consumer");
    consumer.recv(5).await.expect("deliveries");
    proxy.set(Mode::Cut);
    let erred = tokio::time::timeout(Duration::from_secs(10), async { while consumer.recv(5).await.is_ok() {} });
    erred.await.expect("a consumer of a lost connection errs");
    consumer.ack(&[1, 2, 3]);
    proxy.set(Mode::Open);
    connected(&*broker).await;
    let mut consumer = broker.consume(&band(&queue), 20).await.expect("another consumer");
    let mut numbers = Vec::new();
    while numbers.len() < 10 {
        let came = tokio::time::timeout(Duration::from_secs(10), consumer.recv(20)).await.expect("in time");
        numbers.extend(came.expect("deliveries").iter().map(|delivery| number_of(&delivery.dispatch)));
    }
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_and_publishes_are_refused_in_time() {
    let (rabbit, proxy) = (Rabbit::new(), Proxy::start().await);
    let broker = rabbit.open_at(&server_at(proxy.address)).await;
    connected(&*broker).await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    proxy.set(Mode::Silent);
    let began = Instant::now();
    let outcomes = broker.publish(&queue, dispatches(0..10)).await;
    assert!(outcomes.is_err() || outcomes.is_ok_and(|all| all.iter().all(|one| *one == Published::Refused)));
    assert!(broker.depth(&band(&queue)).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    // What was given up is cut, and the next connection is a new one.
    trouble(&*broker, "no").await;
    proxy.set(Mode::Open);
    connected(&*broker).await;
    let published = eventually("a confirm", || async {
        let outcomes = broker.publish(&queue, dispatches(0..1)).await.ok()?;
        (outcomes == [Published::Confirmed]).then_some(())
    });
    published.await;
}

#[tokio::test]
async fn a_listener_errs_when_its_connection_is_cut_and_hears_of_a_gap() {
    let (rabbit, proxy) = (Rabbit::new(), Proxy::start().await);
    let (near, far) = (rabbit.open_at(&server_at(proxy.address)).await, rabbit.open().await);
    connected(&*near).await;
    let mut listener = far.listen().await.expect("listens");
    let event = event();
    hears(&near, &mut listener, &event).await;
    proxy.set(Mode::Cut);
    trouble(&*near, "").await;
    // These are lost with the connection, and the next that comes through shows it.
    (0..10).for_each(|_| near.announce(self::event()));
    tokio::task::yield_now().await;
    proxy.set(Mode::Open);
    connected(&*near).await;
    near.announce(self::event());
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.next()).await.expect("in time");
    assert_eq!(heard.expect("news"), Heard::Missed);
    let mut listener = near.listen().await.expect("listens");
    proxy.set(Mode::Cut);
    let erred = tokio::time::timeout(Duration::from_secs(10), async { while listener.next().await.is_ok() {} });
    erred.await.expect("a listener of a lost connection errs");
}

fn event() -> JobEvent {
    let key = JobKey { tenant: Default::default(), id: JobId::fresh() };
    JobEvent::new(&key, State::Succeeded)
}

async fn hears(broker: &Arc<dyn Broker>, listener: &mut Box<dyn gristmill_broker::Events>, event: &JobEvent) {
    broker.announce(event.clone());
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.next()).await.expect("in time");
    assert_eq!(heard.expect("an event"), Heard::Event(event.clone()));
}
