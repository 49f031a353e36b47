//! Quotas: how much of each queue the worker may take, where it has a number for that queue or the queue a rate. A
//! queue that is full or has to wait holds up no other.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use gristmill_common::QueueName;

use super::{Worker, config::Subscription};

/// The queues that the worker has a number for.
pub(super) struct Quotas(BTreeMap<QueueName, Quota>);

struct Quota {
    /// How many of its jobs may be held at once.
    most: usize,
    /// How many were claimed in all.
    claimed: AtomicUsize,
}

/// How many more jobs of some queues may be taken just now; of the others there is no bound.
#[derive(Default)]
pub(super) struct Rooms(BTreeMap<QueueName, usize>);

impl Quotas {
    pub(super) fn of(subscriptions: &[Subscription]) -> Self {
        let quota = |subscription: &Subscription| {
            let quota = Quota { most: subscription.concurrency?, claimed: AtomicUsize::new(0) };
            Some((subscription.queue.clone(), quota))
        };
        Self(subscriptions.iter().filter_map(quota).collect())
    }

    /// A job of this queue was claimed.
    pub(super) fn claimed_one(&self, queue: &QueueName) {
        if let Some(quota) = self.0.get(queue) {
            quota.claimed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Rooms {
    /// Nothing of this queue for now.
    pub(super) fn close(&mut self, queue: QueueName) {
        self.0.insert(queue, 0);
    }

    /// Whether there is room for another of this queue.
    pub(super) fn has(&self, queue: &QueueName) -> bool {
        self.0.get(queue).is_none_or(|&room| room > 0)
    }

    /// One of this queue was taken.
    pub(super) fn took_one(&mut self, queue: &QueueName) {
        if let Some(room) = self.0.get_mut(queue) {
            *room = room.saturating_sub(1);
        }
    }
}

#[cfg(test)]
impl Rooms {
    pub(super) fn with(queue: &QueueName, room: usize) -> Self {
        Self(BTreeMap::from([(queue.clone(), room)]))
    }
}

impl Worker {
    /// How much may be taken of each queue now.
    pub(super) fn rooms(&self) -> Rooms {
        let of_quotas = self.0.quotas.0.keys().map(|queue| (queue.clone(), self.room_in(queue)));
        let mut rooms = Rooms(of_quotas.collect());
        self.0.queue_rates.close_those_shut(&mut rooms, self.0.engine.now());
        rooms
    }

    /// How many more jobs of this queue it may hold now, as far as the queue's own number goes.
    pub(super) fn room_in(&self, queue: &QueueName) -> usize {
        let Some(quota) = self.0.quotas.0.get(queue) else { return usize::MAX };
        quota.most.saturating_sub(self.0.held.count_of(queue) + self.0.at_gates.count_of(queue))
    }

    /// The most jobs of this queue that may be in hand, as far as its number and its rate go.
    pub(super) fn most_in_hand(&self, queue: &QueueName) -> usize {
        let of_quota = self.0.quotas.0.get(queue).map_or(usize::MAX, |quota| quota.most);
        of_quota.min(self.0.queue_rates.starts_a_second(queue)).max(1)
    }

    /// How many jobs were claimed in all: of this queue, if it has a number, else of any.
    pub(super) fn claimed_of(&self, queue: &QueueName) -> usize {
        let claimed = self.0.quotas.0.get(queue).map_or(&self.0.claimed, |quota| &quota.claimed);
        claimed.load(Ordering::Relaxed)
    }
}
