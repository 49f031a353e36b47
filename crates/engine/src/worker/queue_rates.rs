//! The rate limits of queues, as the board has them. Dispatches of such a queue stay in hand until there are tokens.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gristmill_common::{QueueName, QueueRate, QueueRecord, Tenant, Timestamp};
use gristmill_storage::{RegisterKey, Space};

use super::quotas::Rooms;

/// The longest sleep until a queue opens: its limit may be changed meanwhile, and the clock corrected.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The queues with a rate limit.
#[derive(Default)]
pub(super) struct QueueRates(Mutex<BTreeMap<QueueName, Limited>>);

struct Limited {
    rate: QueueRate,
    /// When the next token is there, if there was none.
    shut_until: Option<Timestamp>,
}

impl QueueRates {
    /// Takes over what the board says. A queue whose limit has changed is asked about anew.
    pub(super) fn learn(&self, declared: &[QueueRecord]) {
        let mut known = self.known();
        let mut limited = BTreeMap::new();
        for queue in declared {
            let Some(rate) = queue.rate_limit else { continue };
            let before = known.get(&queue.name).filter(|before| before.rate == rate);
            let shut_until = before.and_then(|before| before.shut_until);
            limited.insert(queue.name.clone(), Limited { rate, shut_until });
        }
        *known = limited;
    }

    /// The limit of this queue, if it has one.
    pub(super) fn of(&self, queue: &QueueName) -> Option<QueueRate> {
        self.known().get(queue).map(|limited| limited.rate)
    }

    /// How many jobs of this queue start in a second at the most, rounded up, but for those that come at once after a
    /// pause.
    pub(super) fn starts_a_second(&self, queue: &QueueName) -> usize {
        let Some(QueueRate { limit, per_ms }) = self.of(queue) else { return usize::MAX };
        let starts = (u64::from(limit) * 1_000).div_ceil(per_ms.max(1));
        usize::try_from(starts).unwrap_or(usize::MAX)
    }

    /// There is no token for this queue before this time.
    pub(super) fn shut(&self, queue: &QueueName, until: Timestamp) {
        if let Some(limited) = self.known().get_mut(queue) {
            limited.shut_until = Some(until);
        }
    }

    pub(super) fn close_those_shut(&self, rooms: &mut Rooms, now: Timestamp) {
        for (queue, limited) in self.known().iter() {
            if limited.shut_until.is_some_and(|until| until > now) {
                rooms.close(queue.clone());
            }
        }
    }

    /// How long to sleep until one of the queues that are shut may be open.
    pub(super) fn next_opening(&self, now: Timestamp) -> Option<Duration> {
        let next = self.known().values().filter_map(|limited| limited.shut_until.filter(|&until| until > now)).min();
        next.map(|until| until.since(now).min(LONGEST_SLEEP))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<QueueName, Limited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The register of a queue's rate.
pub(super) fn queue_rate_key(queue: &QueueName) -> RegisterKey {
    RegisterKey { space: Space::QueueRate, tenant: Tenant::default(), name: queue.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(limit: u32) -> QueueRecord {
        let rate_limit = Some(QueueRate { limit, per_ms: 60_000 });
        let created_at = Timestamp::from_millis(0);
        QueueRecord { name: QueueName::default(), paused: false, rate_limit, created_at }
    }

    #[test]
    fn a_queue_is_shut_until_its_time_or_until_its_limit_changes() {
        let (rates, queue, at) = (QueueRates::default(), QueueName::default(), Timestamp::from_millis);
        let is_open = |now| {
            let mut rooms = Rooms::default();
            rates.close_those_shut(&mut rooms, at(now));
            rooms.has(&queue)
        };
        rates.shut(&queue, at(500));
        assert!(is_open(0) && rates.starts_a_second(&queue) == usize::MAX, "a queue without a limit is always open");
        rates.learn(&[record(90)]);
        rates.shut(&queue, at(500));
        assert_eq!((is_open(499), is_open(500), rates.starts_a_second(&queue)), (false, true, 2));
        assert_eq!(rates.next_opening(at(100)), Some(Duration::from_millis(400)));
        rates.learn(&[record(90)]);
        assert!(!is_open(0));
        rates.learn(&[record(91)]);
        assert!(is_open(0) && rates.next_opening(at(0)).is_none());
    }
}
