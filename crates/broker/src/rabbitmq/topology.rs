//! Our queues and the exchange of events: their names, their arguments, and what is known of them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, QueueName, job::Priority};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{dial::Session, link::Channels, locked, meters, reason::Fault};
use crate::{BrokerError, MOST_READY};

/// How soon a queue that was found with other arguments is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is declared.
pub(super) struct Topology {
    prefix: String,
    declared: Mutex<HashSet<QueueName>>,
    conflicts: Mutex<BTreeMap<QueueName, (Instant, String)>>,
}

impl Topology {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, declared: Mutex::default(), conflicts: Mutex::default() }
    }

    /// The broker's name for a band.
    pub(super) fn name(&self, queue: &QueueName, priority: Priority) -> ShortString {
        format!("{}.{queue}.{}", self.prefix, priority.as_str()).into()
    }

    /// The broker's name for the band.
    pub(super) fn name_of(&self, band: &BandKey) -> ShortString {
        self.name(&band.queue, band.priority)
    }

    /// The exchange that every event goes through.
    pub(super) fn exchange(&self) -> ShortString {
        format!("{}.events", self.prefix).into()
    }

    /// Whether the queue was declared, and has not been missed since.
    pub(super) fn is_declared(&self, queue: &QueueName) -> bool {
        locked(&self.declared).contains(queue)
    }

    /// A band of the queue is gone: the next declaration makes it again.
    pub(super) fn forget(&self, queue: &QueueName) {
        locked(&self.declared).remove(queue);
    }

    /// Bands of these names are gone.
    pub(super) fn forget_named(&self, names: &HashSet<ShortString>) {
        locked(&self.declared)
            .retain(|queue| !Priority::ALL.into_iter().any(|priority| names.contains(&self.name(queue, priority))));
    }

    /// Declares a queue, unless that has been done.
    pub(super) async fn declare(
        &self,
        queue: &QueueName,
        session: &Session,
        channels: &Channels,
    ) -> Result<(), BrokerError> {
        if self.is_declared(queue) {
            return Ok(());
        }
        if let Some(conflict) = self.conflict_with(queue) {
            return Err(conflict);
        }
        for priority in Priority::ALL {
            let name = self.name(queue, priority);
            let declared = channels
                .call(session, |channel| async move {
                    let options = QueueDeclareOptions::durable();
                    meters::sent("declare", 1);
                    channel.queue_declare(name, options, arguments()).await
                })
                .await;
            match declared {
                Ok(_) => {}
                Err(Fault::Conflict(reason)) => return Err(self.remember_conflict(queue, reason)),
                Err(fault) => return Err(fault.into()),
            }
        }
        locked(&self.conflicts).remove(queue);
        locked(&self.declared).insert(queue.clone());
        Ok(())
    }

    /// Declares once more what was declared: the broker that came back may have lost it.
    pub(super) async fn declare_again(&self, session: &Session, channels: &Channels) {
        let declared = locked(&self.declared).clone();
        for queue in declared {
            self.forget(&queue);
            if let Err(error) = self.declare(&queue, session, channels).await {
                tracing::debug!(%queue, %error, "not declared again; whoever needs it declares it");
                // The rest must not wait for an answer one by one.
                if matches!(error, BrokerError::Unavailable(_)) {
                    return;
                }
            }
        }
    }

    /// A queue that exists with other arguments, if there is one.
    pub(super) fn conflict(&self) -> Option<BrokerError> {
        let conflicts = locked(&self.conflicts);
        let (queue, (_, reason)) = conflicts.first_key_value()?;
        Some(BrokerError::Conflict { queue: queue.clone(), reason: reason.clone() })
    }

    fn conflict_with(&self, queue: &QueueName) -> Option<BrokerError> {
        let conflicts = locked(&self.conflicts);
        let (seen, reason) = conflicts.get(queue)?;
        let recent = seen.elapsed() < LOOK_AGAIN;
        recent.then(|| BrokerError::Conflict { queue: queue.clone(), reason: reason.clone() })
    }

    fn remember_conflict(&self, queue: &QueueName, reason: String) -> BrokerError {
        let known = locked(&self.conflicts).insert(queue.clone(), (Instant::now(), reason.clone()));
        if known.is_none_or(|(_, known)| known != reason) {
            tracing::error!(%queue, reason, "the queue exists with other arguments: delete it, and it is made anew");
        }
        BrokerError::Conflict { queue: queue.clone(), reason }
    }
}

/// Declares the exchange of events.
pub(super) async fn declare_exchange(channel: Channel, name: ShortString) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(name, ExchangeKind::Fanout, options, FieldTable::default()).await
}

/// A band takes [`MOST_READY`] dispatches and refuses what is over. No delivery limit is among them: a broker of
/// another version would refuse a queue that was declared with another one, and redispatch repairs a drop.
fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MOST_READY as i64));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}
