//! Dispatches in hand that are not claimed yet, and which of them come next: bands take turns by weight, so that
//! high goes first and low never starves.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_broker::Delivery;
use gristmill_common::{BandKey, message::Dispatch};
use tokio::sync::{Notify, futures::Notified, mpsc};

use super::{config::Weights, gates::Candidate, quotas::Rooms};

/// A dispatch in hand. Acked once, by whoever decides what becomes of its job; dropped without an ack, it stays
/// with the broker until the consumer goes.
#[derive(Debug)]
pub(crate) struct InHand {
    pub(crate) dispatch: Dispatch,
    since: Instant,
    tag: u64,
    consumer: mpsc::UnboundedSender<u64>,
}

impl InHand {
    /// A delivery of a consumer that listens for acks there.
    pub(crate) fn new(delivery: Delivery, consumer: mpsc::UnboundedSender<u64>) -> Self {
        Self { dispatch: delivery.dispatch, since: Instant::now(), tag: delivery.tag, consumer }
    }

    /// Whether the consumer that it came from is there no more: the broker has it again.
    pub(super) fn is_left_behind(&self) -> bool {
        self.consumer.is_closed()
    }

    /// Done with. If the consumer is gone, the broker will deliver the dispatch again, and a claim will refuse it.
    pub(crate) fn ack(self) {
        let _ = self.consumer.send(self.tag);
    }
}

/// What is in hand, band by band.
pub(crate) struct Inbox {
    bands: Mutex<BTreeMap<BandKey, Band>>,
    weights: Weights,
    /// Rung when something has come in.
    arrived: Notify,
    /// Rung when something has been taken out.
    taken: Notify,
}

#[derive(Default)]
struct Band {
    waiting: VecDeque<InHand>,
    /// Those that were rescued once, perhaps by another's fault: each is to be claimed by itself.
    rescued_once: VecDeque<InHand>,
    /// Those that were rescued more often: each is to be claimed while no other such job is held.
    alone: VecDeque<InHand>,
    /// Its claim to the next turn: grows by its weight with each turn, and pays for the turn it gets.
    credit: i64,
}

impl Inbox {
    pub(crate) fn new(weights: Weights) -> Self {
        Self { bands: Mutex::default(), weights, arrived: Notify::new(), taken: Notify::new() }
    }

    /// Adds dispatches of a band.
    pub(crate) fn put(&self, band: &BandKey, dispatches: impl Iterator<Item = InHand>) {
        self.bands().entry(band.clone()).or_default().waiting.extend(dispatches);
        self.arrived.notify_one();
    }

    /// Puts dispatches back in front, as after a claim that failed. Drops those whose consumer has gone meanwhile: their
    /// queue may be paused, or another consumer has them.
    pub(crate) fn put_back(&self, taken: Vec<(BandKey, InHand)>) {
        let mut bands = self.bands();
        for (band, dispatch) in taken.into_iter().rev().filter(|(_, dispatch)| !dispatch.is_left_behind()) {
            bands.entry(band).or_default().waiting.push_front(dispatch);
        }
    }

    /// Puts dispatches back where they were that could not pass the gates yet.
    pub(super) fn put_back_where_they_were(&self, candidates: Vec<Candidate>) {
        let (plain, rescued): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| candidate.rescues == 0);
        self.put_back(plain.into_iter().map(|candidate| (candidate.band, candidate.in_hand)).collect());
        for Candidate { band, in_hand, rescues, .. } in rescued {
            self.set_aside(&band, in_hand, rescues);
        }
    }

    /// Sets a dispatch aside whose job was rescued so often, unless its consumer has gone meanwhile.
    pub(crate) fn set_aside(&self, band: &BandKey, dispatch: InHand, rescues: u32) {
        if dispatch.is_left_behind() {
            return;
        }
        let mut bands = self.bands();
        let band = bands.entry(band.clone()).or_default();
        let aside = if rescues > 1 { &mut band.alone } else { &mut band.rescued_once };
        aside.push_back(dispatch);
    }

    /// Takes one of those that must be alone.
    pub(super) fn take_alone(&self, rooms: &mut Rooms) -> Option<(BandKey, InHand)> {
        let mut bands = self.bands();
        let mut open = bands.iter_mut().filter(|(key, _)| rooms.has(&key.queue));
        let (key, dispatch) = open.find_map(|(key, band)| Some((key.clone(), band.alone.pop_front()?)))?;
        rooms.took_one(&key.queue);
        Some((key, dispatch))
    }

    /// Takes at most so many of those that were rescued once.
    pub(super) fn take_rescued_once(&self, most: usize, rooms: &mut Rooms) -> Vec<(BandKey, InHand)> {
        let mut taken = Vec::new();
        for (key, band) in self.bands().iter_mut() {
            while taken.len() < most && rooms.has(&key.queue) {
                let Some(dispatch) = band.rescued_once.pop_front() else { break };
                rooms.took_one(&key.queue);
                taken.push((key.clone(), dispatch));
            }
        }
        taken
    }

    /// Whether there is something to take, besides what is set aside.
    pub(super) fn has_some(&self, rooms: &Rooms) -> bool {
        self.bands().iter().any(|(key, band)| !band.waiting.is_empty() && rooms.has(&key.queue))
    }

    /// Whether one must be alone.
    pub(super) fn has_one_alone(&self, rooms: &Rooms) -> bool {
        self.bands().iter().any(|(key, band)| !band.alone.is_empty() && rooms.has(&key.queue))
    }

    /// Whether one was rescued once.
    pub(super) fn has_one_rescued_once(&self, rooms: &Rooms) -> bool {
        self.bands().iter().any(|(key, band)| !band.rescued_once.is_empty() && rooms.has(&key.queue))
    }

    /// How many dispatches of a band are in hand.
    pub(crate) fn len(&self, band: &BandKey) -> usize {
        self.bands().get(band).map_or(0, |band| band.waiting.len() + band.rescued_once.len() + band.alone.len())
    }

    /// Drops what is in hand of a band whose consumer is gone.
    pub(crate) fn forget(&self, band: &BandKey) {
        self.bands().remove(band);
    }

    /// Takes at most so many, the bands by weight: the smooth weighted round robin of nginx.
    /// Source: <https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35>.
    pub(super) fn take(&self, most: usize, rooms: &mut Rooms) -> Vec<(BandKey, InHand)> {
        let mut bands = self.bands();
        let mut taken = Vec::new();
        while taken.len() < most {
            let mut total = 0;
            let mut next: Option<(&BandKey, &mut Band)> = None;
            for (key, band) in bands.iter_mut() {
                if band.waiting.is_empty() || !rooms.has(&key.queue) {
                    continue;
                }
                let weight = i64::from(self.weights.of(key.priority));
                band.credit += weight;
                total += weight;
                if next.as_ref().is_none_or(|(_, best)| band.credit >= best.credit) {
                    next = Some((key, band));
                }
            }
            let Some((key, band)) = next else { break };
            band.credit -= total;
            if let Some(dispatch) = band.waiting.pop_front() {
                rooms.took_one(&key.queue);
                taken.push((key.clone(), dispatch));
            }
        }
        if !taken.is_empty() {
            self.taken.notify_waiters();
        }
        taken
    }

    /// Takes those that have been in hand for longer than this.
    pub(crate) fn take_older_than(&self, age: Duration) -> Vec<InHand> {
        let mut old = Vec::new();
        for band in self.bands().values_mut() {
            for waiting in [&mut band.waiting, &mut band.rescued_once, &mut band.alone] {
                while waiting.front().is_some_and(|dispatch| dispatch.since.elapsed() > age) {
                    old.extend(waiting.pop_front());
                }
            }
        }
        old
    }

    /// Becomes ready when something has come in. Ask before you look what there is.
    pub(crate) fn arrival(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Becomes ready when something has been taken out. Ask before you look at `len`.
    pub(crate) fn departure(&self) -> Notified<'_> {
        self.taken.notified()
    }

    fn bands(&self) -> MutexGuard<'_, BTreeMap<BandKey, Band>> {
        self.bands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{JobId, QueueName, Tenant, job::Priority};

    use super::*;

    fn fill(inbox: &Inbox, priority: Priority, number: usize) -> mpsc::UnboundedReceiver<u64> {
        fill_queue(inbox, QueueName::default(), priority, number)
    }

    fn fill_queue(inbox: &Inbox, queue: QueueName, priority: Priority, number: usize) -> mpsc::UnboundedReceiver<u64> {
        let (consumer, acks) = mpsc::unbounded_channel();
        let band = BandKey { queue, priority };
        let dispatches = (0..number).map(|tag| {
            let dispatch = Dispatch {
                v: 1,
                tenant: Tenant::default(),
                job_id: JobId::fresh(),
                job_type: "sleep".parse().expect("a name"),
                claims: 0,
                priority,
                trace: None,
                gates: None,
            };
            InHand::new(Delivery { dispatch, tag: tag as u64 }, consumer.clone())
        });
        inbox.put(&band, dispatches);
        acks
    }

    fn count(taken: &[(BandKey, InHand)], priority: Priority) -> usize {
        taken.iter().filter(|(band, _)| band.priority == priority).count()
    }

    #[test]
    fn bands_take_turns_by_weight_and_none_starves() {
        let inbox = Inbox::new(Weights::default());
        let _acks = Priority::ALL.map(|priority| fill(&inbox, priority, 1_000));
        let taken = inbox.take(600, &mut Rooms::default());
        assert_eq!(Priority::ALL.map(|priority| count(&taken, priority)), [300, 200, 100]);
        assert_eq!(count(&taken[..6], Priority::Low), 1, "a turn of six serves every band");
    }

    #[test]
    fn the_weights_can_be_chosen() {
        let inbox = Inbox::new("1:1:8".parse().expect("weights"));
        let _acks = Priority::ALL.map(|priority| fill(&inbox, priority, 1_000));
        let taken = inbox.take(500, &mut Rooms::default());
        assert_eq!(Priority::ALL.map(|priority| count(&taken, priority)), [50, 50, 400]);
    }

    #[test]
    fn a_full_queue_holds_up_no_other() {
        let inbox = Inbox::new(Weights::default());
        let mail: QueueName = "mail".parse().expect("a name");
        let _acks = fill_queue(&inbox, mail.clone(), Priority::High, 10);
        let mut rooms = Rooms::with(&mail, 3);
        assert_eq!(inbox.take(100, &mut rooms).len(), 3);
        assert!(!inbox.has_some(&rooms) && inbox.has_some(&Rooms::default()));
        let _more = fill(&inbox, Priority::Low, 10);
        assert!(inbox.has_some(&rooms));
        let taken = inbox.take(100, &mut rooms);
        assert!(taken.len() == 10 && taken.iter().all(|(band, _)| band.queue != mail));
        for (rescues, (band, dispatch)) in [1, 2].into_iter().zip(inbox.take(2, &mut Rooms::default())) {
            inbox.set_aside(&band, dispatch, rescues);
        }
        assert!(inbox.has_one_alone(&Rooms::default()) && inbox.has_one_rescued_once(&Rooms::default()));
        assert!(!inbox.has_one_alone(&rooms) && !inbox.has_one_rescued_once(&rooms));
        assert!(inbox.take_alone(&mut rooms).is_none() && inbox.take_rescued_once(9, &mut rooms).is_empty());
    }

    #[test]
    fn a_band_alone_gets_every_turn() {
        let inbox = Inbox::new(Weights::default());
        let _acks = fill(&inbox, Priority::Low, 10);
        assert_eq!(inbox.take(100, &mut Rooms::default()).len(), 10);
        assert!(inbox.take(1, &mut Rooms::default()).is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first_and_in_order() {
        let inbox = Inbox::new(Weights::default());
        let _acks = fill(&inbox, Priority::Normal, 5);
        let taken = inbox.take(3, &mut Rooms::default());
        let ids: Vec<_> = taken.iter().map(|(_, dispatch)| dispatch.dispatch.job_id).collect();
        inbox.put_back(taken);
        let again: Vec<_> =
            inbox.take(3, &mut Rooms::default()).iter().map(|(_, dispatch)| dispatch.dispatch.job_id).collect();
        assert_eq!(again, ids);
    }

    #[test]
    fn what_is_set_aside_comes_only_when_asked_for_and_goes_with_its_band() {
        let inbox = Inbox::new(Weights::default());
        let _acks = fill(&inbox, Priority::Normal, 2);
        let (band, first) = inbox.take(1, &mut Rooms::default()).remove(0);
        inbox.set_aside(&band, first, 1);
        assert_eq!(
            (
                inbox.len(&band),
                inbox.take(10, &mut Rooms::default()).len(),
                inbox.has_one_rescued_once(&Rooms::default())
            ),
            (2, 1, true)
        );
        assert!(
            !inbox.has_one_alone(&Rooms::default()) && inbox.take_rescued_once(0, &mut Rooms::default()).is_empty()
        );
        let (_, again) = inbox.take_rescued_once(10, &mut Rooms::default()).pop().expect("it was set aside");
        inbox.set_aside(&band, again, 2);
        assert!(inbox.has_one_alone(&Rooms::default()) && !inbox.has_one_rescued_once(&Rooms::default()));
        let (_, again) = inbox.take_alone(&mut Rooms::default()).expect("it was set aside");
        inbox.set_aside(&band, again, 3);
        inbox.forget(&band);
        assert!(inbox.take_alone(&mut Rooms::default()).is_none());
    }

    #[test]
    fn what_comes_back_after_its_consumer_has_gone_is_dropped() {
        let inbox = Inbox::new(Weights::default());
        let acks = fill(&inbox, Priority::Normal, 3);
        let mut taken = inbox.take(3, &mut Rooms::default());
        let (band, first) = taken.remove(0);
        // As when its queue is paused.
        drop(acks);
        inbox.forget(&band);
        inbox.set_aside(&band, first, 1);
        inbox.put_back(taken);
        assert_eq!(inbox.len(&band), 0);
    }

    #[test]
    fn an_ack_reaches_the_consumer_it_came_from() {
        let inbox = Inbox::new(Weights::default());
        let mut acks = fill(&inbox, Priority::Normal, 2);
        inbox.take(2, &mut Rooms::default()).into_iter().for_each(|(_, dispatch)| dispatch.ack());
        assert_eq!((acks.try_recv(), acks.try_recv()), (Ok(0), Ok(1)));
    }
}
