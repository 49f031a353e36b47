//! One supervised connection. A task of its own makes it, watches it, and makes it again; whoever needs it gets it
//! at once, or the reason why there is none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, future::BoxFuture};
use gristmill_common::breaker;
use lapin::{Channel, Event};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{dial::Session, locked, reason::Fault, url::Address};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next attempt comes soon.
const STEADY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Done with each new connection before anybody else gets it.
pub(super) type OnConnect = Box<dyn Fn(Arc<Session>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A connection that is made again whenever it is lost.
pub(super) struct Link {
    state: watch::Receiver<State>,
    supervisor: JoinHandle<()>,
}

type State = Result<Arc<Session>, String>;

impl Link {
    /// Starts to connect, and returns at once. `name` tells the connections of a process apart.
    pub(super) fn open(address: Address, name: &'static str, trouble: Arc<Trouble>, on_connect: OnConnect) -> Self {
        let (sender, state) = watch::channel(Err("not connected yet".into()));
        trouble.is_tried(name);
        let supervisor = tokio::spawn(Supervisor { address, name, trouble, on_connect, state: sender }.run());
        Self { state, supervisor }
    }

    /// The connection.
    ///
    /// # Errors
    /// There is none just now.
    pub(super) fn session(&self) -> Result<Arc<Session>, Fault> {
        match &*self.state.borrow() {
            Ok(session) if session.is_open() => Ok(session.clone()),
            Ok(_) => Err(Fault::Unavailable("the connection was lost".into())),
            Err(reason) => Err(Fault::Unavailable(reason.clone())),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Why each connection of a process is away, by its name. What one of them has said the others need not say. Together
/// they are a breaker: closed while all are there, half-open while those that are away are tried, else open.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Connections>);

#[derive(Default)]
struct Connections {
    reasons: BTreeMap<&'static str, String>,
    states: BTreeMap<&'static str, breaker::State>,
    opened: u64,
}

impl Trouble {
    /// This connection is being made.
    fn is_tried(&self, name: &'static str) {
        locked(&self.0).states.insert(name, breaker::State::HalfOpen);
    }

    /// This connection is away, for this reason. Says whether that is news.
    fn is(&self, name: &'static str, reason: &str) -> bool {
        let mut connections = locked(&self.0);
        connections.opened += u64::from(connections.reasons.is_empty());
        connections.states.insert(name, breaker::State::Open);
        let is_news = connections.reasons.values().all(|known| known != reason);
        connections.reasons.insert(name, reason.to_owned());
        is_news
    }

    /// This connection is there. Says whether that ends all trouble.
    fn is_over(&self, name: &'static str) -> bool {
        let mut connections = locked(&self.0);
        connections.states.insert(name, breaker::State::Closed);
        connections.reasons.remove(name).is_some() && connections.reasons.is_empty()
    }

    /// How they stand together, for others to see.
    pub(super) fn breaker(&self) -> breaker::Reading {
        let connections = locked(&self.0);
        let stands = |state| connections.states.values().any(|stands| *stands == state);
        let state = match (stands(breaker::State::Open), stands(breaker::State::HalfOpen)) {
            (true, _) => breaker::State::Open,
            (false, true) => breaker::State::HalfOpen,
            (false, false) => breaker::State::Closed,
        };
        breaker::Reading { state, opened: connections.opened }
    }
}

struct Supervisor {
    address: Address,
    name: &'static str,
    trouble: Arc<Trouble>,
    on_connect: OnConnect,
    state: watch::Sender<State>,
}

impl Supervisor {
    async fn run(self) {
        let connected = metrics::gauge!("gristmill_broker_connected", "connection" => self.name);
        connected.set(0.0);
        let mut pause = FIRST_PAUSE;
        loop {
            self.trouble.is_tried(self.name);
            let reason = match Session::dial(&self.address.uri, self.name).await {
                Ok(session) => {
                    let (session, since) = (Arc::new(session), Instant::now());
                    (self.on_connect)(session.clone()).await;
                    drop(self.state.send_replace(Ok(session.clone())));
                    connected.set(1.0);
                    if self.trouble.is_over(self.name) {
                        tracing::info!(broker.host = self.address.host(), "RabbitMQ can be reached again");
                    }
                    let reason = self.until_lost(&session).await;
                    connected.set(0.0);
                    if since.elapsed() >= STEADY {
                        pause = FIRST_PAUSE;
                    }
                    reason
                }
                Err(reason) => reason,
            };
            if self.trouble.is(self.name, &reason) {
                let host = self.address.host();
                tracing::warn!(broker.host = host, reason, "RabbitMQ cannot be reached; trying again until it can");
            }
            drop(self.state.send_replace(Err(reason)));
            // Many processes lose the broker at the same moment.
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Watches a connection until it is lost; says why it was.
    async fn until_lost(&self, session: &Session) -> String {
        let blocked = metrics::gauge!("gristmill_broker_blocked", "connection" => self.name);
        blocked.set(0.0);
        let mut events = session.events();
        let mut last_words = None;
        while session.is_open() {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        blocked.set(1.0);
                        tracing::warn!(reason, "RabbitMQ takes no messages");
                    }
                    Some(Event::ConnectionUnblocked) => {
                        blocked.set(0.0);
                        tracing::info!("RabbitMQ takes messages again");
                    }
                    Some(Event::Error(error)) => last_words = Some(super::reason::reason(&error)),
                    Some(_) => {}
                    None => break,
                },
                () = session.suspected.notified() => {
                    if !session.is_blocked() && !answers(session).await {
                        session.cut();
                        last_words = Some("the broker does not answer".into());
                        break;
                    }
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
        blocked.set(0.0);
        last_words.unwrap_or_else(|| "the connection was lost".into())
    }
}

/// Whether the connection as a whole still answers, and not only one queue does not.
async fn answers(session: &Session) -> bool {
    session.channel().await.is_ok()
}

/// Channels for short calls, used again and again. A call that fails takes its channel along.
#[derive(Default)]
pub(super) struct Channels(Mutex<Vec<Channel>>);

impl Channels {
    /// Makes one call on a channel of its own.
    pub(super) async fn call<T, F>(&self, session: &Session, call: impl FnOnce(Channel) -> F) -> Result<T, Fault>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        let channel = match self.idle() {
            Some(channel) => channel,
            None => session.channel().await?,
        };
        let answer = session.answered(call(channel.clone())).await?;
        locked(&self.0).push(channel);
        Ok(answer)
    }

    fn idle(&self) -> Option<Channel> {
        let mut channels = locked(&self.0);
        // Those of a lost connection are of no use.
        channels.retain(|channel| channel.status().connected());
        channels.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_are_a_breaker_together() {
        let trouble = Trouble::default();
        let stands = || {
            let breaker::Reading { state, opened } = trouble.breaker();
            (state, opened)
        };
        trouble.is_tried("publish");
        trouble.is_tried("consume");
        assert_eq!(stands(), (breaker::State::HalfOpen, 0));
        trouble.is_over("publish");
        assert_eq!(stands(), (breaker::State::HalfOpen, 0));
        trouble.is_over("consume");
        assert_eq!(stands(), (breaker::State::Closed, 0));
        trouble.is("publish", "lost");
        trouble.is("consume", "lost");
        assert_eq!(stands(), (breaker::State::Open, 1));
        trouble.is_tried("publish");
        assert_eq!(stands(), (breaker::State::Open, 1), "the other waits");
        trouble.is("publish", "refused");
        trouble.is_over("publish");
        trouble.is_over("consume");
        assert_eq!(stands(), (breaker::State::Closed, 1));
        trouble.is("consume", "lost");
        assert_eq!(stands(), (breaker::State::Open, 2));
    }

    #[test]
    fn trouble_is_said_once_for_both_connections_and_over_when_both_are_there() {
        let trouble = Trouble::default();
        assert!(!trouble.is_over("publish"), "there was none");
        assert!(trouble.is("publish", "lost"));
        assert!(!trouble.is("consume", "lost"), "the other has said it");
        assert!(trouble.is("consume", "refused"));
        for _ in 0..3 {
            assert!(!trouble.is("publish", "lost"), "it lasts");
            assert!(!trouble.is("consume", "refused"), "it lasts");
        }
        assert!(!trouble.is_over("publish"), "the other is away");
        assert!(!trouble.is("consume", "refused"));
        assert!(trouble.is_over("consume"));
        assert!(!trouble.is_over("consume"), "it was said");
        assert!(trouble.is("consume", "lost"), "anew");
    }
}
