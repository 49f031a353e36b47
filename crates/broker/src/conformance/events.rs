//! The bus: everyone who listens hears everything, or that something was missed.

use std::time::Duration;

use gristmill_common::{JobId, State, message::JobEvent};

use super::{
    Backend,
    build::{dispatch, within},
};
use crate::{Events, Heard};

fn event(number: u32) -> JobEvent {
    JobEvent::new(&dispatch(number, Default::default()).key(), State::Succeeded)
}

async fn next(listener: &mut Box<dyn Events>) -> Heard {
    within("an event", listener.next()).await.expect("the listener works")
}

/// Listens until it hears the mark of this check: other checks may announce on the same bus.
async fn hears(listener: &mut Box<dyn Events>, expected: &[JobEvent]) {
    for event in expected {
        loop {
            match next(listener).await {
                Heard::Event(heard) if heard == *event => break,
                Heard::Event(heard) => assert!(!expected.contains(&heard), "{heard:?} came out of order"),
                Heard::Missed => panic!("a listener that keeps up misses nothing"),
            }
        }
    }
}

fn fresh_event() -> JobEvent {
    JobEvent { job_id: JobId::fresh(), ..event(0) }
}

/// Two listeners, the same events.
pub async fn every_listener_hears_every_event_in_order(backend: &impl Backend) {
    let broker = backend.open().await;
    let mut listeners = [broker.listen().await.expect("listens"), broker.listen().await.expect("listens")];
    let events: Vec<JobEvent> = (0..100).map(|_| fresh_event()).collect();
    events.iter().for_each(|event| broker.announce(event.clone()));
    for listener in &mut listeners {
        hears(listener, &events).await;
    }
}

/// Listening begins when it is asked for.
pub async fn a_listener_hears_nothing_from_before(backend: &impl Backend) {
    let broker = backend.open().await;
    let mut early = broker.listen().await.expect("listens");
    let (before, after) = (fresh_event(), fresh_event());
    broker.announce(before.clone());
    hears(&mut early, std::slice::from_ref(&before)).await;
    let mut late = broker.listen().await.expect("listens");
    broker.announce(after.clone());
    loop {
        match next(&mut late).await {
            Heard::Event(heard) if heard == after => return,
            Heard::Event(heard) => assert_ne!(heard, before),
            Heard::Missed => panic!("nothing was missed"),
        }
    }
}

/// Memory is bounded: a listener that does not listen misses events, is told so, and goes on hearing.
pub async fn a_slow_listener_is_told_that_it_missed_some(backend: &impl Backend) {
    let broker = backend.open().await;
    let mut listener = broker.listen().await.expect("listens");
    (0..100_000).for_each(|number| broker.announce(event(number)));
    within("the news of missed events", async {
        while listener.next().await.expect("the listener works") != Heard::Missed {}
    })
    .await;
    within("an event after those missed", async {
        let last = fresh_event();
        loop {
            broker.announce(last.clone());
            // Silence: the bus was too full for it.
            while let Ok(heard) = tokio::time::timeout(Duration::from_secs(1), listener.next()).await {
                if heard.expect("the listener works") == Heard::Event(last.clone()) {
                    return;
                }
            }
        }
    })
    .await;
}
