//! Claim: turns dispatches in hand into leases, many in one write.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures::future::join_all;
use gristmill_common::{
    BandKey, Class, LeaseId, State, Timestamp,
    job::{Change, IllegalTransition, Job, JobKey},
    message::{Dispatch, DispatchGates},
};
use gristmill_storage::{Claim, Claimed, StoreError, Whom};

use super::{
    Worker,
    gates::{Candidate, ToGates},
    inbox::InHand,
    others::can_run,
    settle::Settled,
};

/// How long to wait before asking a store again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(super) type Picked = BTreeMap<JobKey, (BandKey, InHand)>;

/// What is claimed under one lease.
pub(super) struct Round {
    pub(super) lease: LeaseId,
    pub(super) whom: Whom,
    pub(super) picked: Picked,
}

/// For how long a lease is good that is asked for now.
pub(super) struct Term {
    from: Timestamp,
    /// By the clock that all go by.
    pub(super) until: Timestamp,
    /// By no clock that anybody can set.
    ends: Instant,
    half: Instant,
}

impl Round {
    fn of(picked: Vec<(BandKey, InHand)>, whom: Whom) -> Self {
        let mut round = Self { lease: LeaseId::fresh(), whom, picked: Picked::new() };
        for (band, in_hand) in picked {
            round.pick(band, in_hand);
        }
        round
    }

    /// A doubled dispatch is done with at once: the other will do.
    pub(super) fn pick(&mut self, band: BandKey, in_hand: InHand) {
        if let Some((_, before)) = self.picked.insert(in_hand.dispatch.key(), (band, in_hand)) {
            before.ack();
        }
    }
}

impl Term {
    /// Whether half of it is over: what is not claimed by now should wait for another.
    pub(super) fn is_half_over(&self) -> bool {
        Instant::now() >= self.half
    }
}

impl Worker {
    /// Claims what comes into the inbox, as much at a time as there is room for, until the shutdown. What has to pass
    /// gates goes there.
    pub(super) async fn claim_what_comes(self, to_gates: ToGates) {
        loop {
            tokio::select! {
                () = self.0.engine.shutdown().cancelled() => return,
                () = self.work_and_room() => {}
            }
            let mut rooms = self.rooms();
            if !self.has_one_alone()
                && let Some((band, in_hand)) = self.0.inbox.take_alone(&mut rooms)
            {
                if self.has_gates(&band, &in_hand) {
                    self.send_to_gates(&to_gates, Candidate::new(band, in_hand, 2));
                } else {
                    self.claim(Round::of(vec![(band, in_hand)], Whom::Any), &self.begin_term()).await;
                }
            }
            // One lost worker leaves many jobs behind that were rescued once: they need not wait for each other.
            let rescued = self.0.inbox.take_rescued_once(self.room(), &mut rooms);
            let rescued = self.divert(rescued, &to_gates, 1);
            let term = self.begin_term();
            let each = rescued.into_iter().map(|one| self.claim(Round::of(vec![one], Whom::Any), &term));
            join_all(each).await;
            let picked = self.0.inbox.take(self.room(), &mut rooms);
            let picked = self.sort_out(picked).await;
            let picked = self.divert(picked, &to_gates, 0);
            self.claim(Round::of(picked, Whom::NeverRescued), &self.begin_term()).await;
        }
    }

    /// Whether one that must be alone is held, or on its way through the gates.
    fn has_one_alone(&self) -> bool {
        self.0.at_gates.has_one_alone() || self.0.held.has_one_alone()
    }

    /// Sends those with gates there; returns the others.
    fn divert(&self, picked: Vec<(BandKey, InHand)>, to_gates: &ToGates, rescues: u32) -> Vec<(BandKey, InHand)> {
        let (gated, plain): (Vec<_>, Vec<_>) =
            picked.into_iter().partition(|(band, in_hand)| self.has_gates(band, in_hand));
        for (band, in_hand) in gated {
            self.send_to_gates(to_gates, Candidate::new(band, in_hand, rescues));
        }
        plain
    }

    /// Waits until there is something to claim and room for it. While it is busy, it waits for enough room that
    /// a claim is worth its write.
    async fn work_and_room(&self) {
        loop {
            let mut room = pin!(self.0.room.notified());
            room.as_mut().enable();
            let mut arrival = pin!(self.0.inbox.arrival());
            arrival.as_mut().enable();
            if self.room() < (self.0.pace.ahead() / 4).max(1) {
                room.await;
                continue;
            }
            let (inbox, rooms) = (&self.0.inbox, self.rooms());
            let alone_may_go = inbox.has_one_alone(&rooms) && !self.has_one_alone();
            if inbox.has_some(&rooms) || alone_may_go || inbox.has_one_rescued_once(&rooms) {
                return;
            }
            let opening = self.0.queue_rates.next_opening(self.0.engine.now());
            tokio::select! {
                () = arrival => {}
                // Perhaps the one that was claimed alone has ended, or one of a queue that was full.
                () = room => {}
                () = tokio::time::sleep(opening.unwrap_or_default()), if opening.is_some() => {}
            }
        }
    }

    /// Puts jobs off that this worker cannot run, for want of a handler or of a thread: they are for others.
    async fn sort_out(&self, picked: Vec<(BandKey, InHand)>) -> Vec<(BandKey, InHand)> {
        let registry = &self.0.engine.0.registry;
        let has_threads = self.0.threads.check().is_ok();
        let (mut for_us, mut for_others, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (band, in_hand) in picked {
            match registry.get(&in_hand.dispatch.job_type) {
                Some(handler) if has_threads || handler.class() != Class::Cpu => for_us.push((band, in_hand)),
                Some(_) => for_others.push(in_hand),
                None => unknown.push((band, in_hand)),
            }
        }
        if !unknown.is_empty() {
            let others = self.others().await;
            let (known, for_nobody): (Vec<_>, Vec<_>) =
                unknown.into_iter().partition(|(band, in_hand)| can_run(&others, &in_hand.dispatch.job_type, band));
            for_others.extend(known.into_iter().map(|(_, in_hand)| in_hand));
            let for_nobody = for_nobody.into_iter().map(|(_, in_hand)| in_hand).collect();
            self.put_off(for_nobody, |job, now| job.postpone(now)).await;
        }
        self.put_off(for_others, |job, now| job.pass_on(now)).await;
        for_us
    }

    /// For how long a lease will be good that is asked for now.
    pub(super) fn begin_term(&self) -> Term {
        let (from, began, lease) = (self.0.engine.now(), Instant::now(), self.0.config.lease);
        Term { from, until: from + lease, ends: began + lease, half: began + lease / 2 }
    }

    /// Claims jobs under one lease and starts them. Their dispatches are acked, and those of jobs no longer
    /// queued; those of jobs that were rescued before are set aside.
    pub(super) async fn claim(&self, round: Round, term: &Term) {
        let Round { lease, whom, picked: mut by_key } = round;
        if by_key.is_empty() {
            return;
        }
        let engine = &self.0.engine;
        let keys: Vec<JobKey> = by_key.keys().cloned().collect();
        let claim = Claim { keys: keys.clone(), lease, worker: self.0.id, now: term.from, until: term.until, whom };
        let claimed = match engine.store().claim(claim).await {
            Ok(claimed) => {
                self.0.not_claimed.over();
                claimed
            }
            Err(error) => match self.read_back(lease, &keys, term.ends, &error).await {
                Some(claimed) => claimed,
                None => {
                    // Whatever it got is lost to it, and will be rescued; the rest is claimed anew.
                    self.give_slots_back_of(lease, &by_key);
                    self.0.inbox.put_back(by_key.into_values().collect());
                    return;
                }
            },
        };
        engine.0.bell.answered(claimed.iter().map(|claimed| &claimed.job.key));
        self.0.claimed.fetch_add(claimed.len(), Ordering::Relaxed);
        metrics::counter!("gristmill_jobs_claimed_total").increment(claimed.len() as u64);
        for claimed in claimed {
            let in_hand = by_key.remove(&claimed.job.key).map(|(_, in_hand)| in_hand);
            let passed_gates = in_hand.as_ref().is_some_and(|in_hand| in_hand.dispatch.gates.is_some());
            if let Some(in_hand) = in_hand {
                in_hand.ack();
            }
            if claimed.job.gates.is_some() && !passed_gates && DispatchGates::of(&claimed.job).is_some() {
                tokio::spawn(self.clone().send_through_gates(claimed.job));
                continue;
            }
            self.0.quotas.claimed_one(&claimed.job.queue);
            self.start(claimed, term.ends);
        }
        self.give_slots_back_of(lease, &by_key);
        self.of_those_refused(by_key).await
    }

    /// Of jobs that were not got: gives back the slots that were taken for them.
    fn give_slots_back_of(&self, lease: LeaseId, refused: &Picked) {
        for (_, in_hand) in refused.values() {
            self.give_slot_back(in_hand, lease);
        }
    }

    /// A scheduler that knows of no gates has rung for a job that has some. It is given back, and rung for with all
    /// that it has to pass. Should that scheduler be faster again, it is the same once more: until it is gone, such a
    /// job takes a turn or two each time that it is due.
    async fn send_through_gates(self, job: Job) {
        let engine = &self.0.engine;
        tracing::debug!(job.id = %job.key.id, "its dispatch did not tell its gates; it is given back");
        let released = self.decide_and_write(&job, |job| job.release(engine.now(), engine.limits())).await;
        let Settled::Written(job) = released else { return };
        if job.state != State::Queued {
            return engine.tell(&job);
        }
        // Rung for here, and not by a scheduler for a second.
        let Ok(passed_on) = job.pass_on(engine.now()) else { return };
        let written = engine.store().apply(vec![passed_on]).await;
        if let Some(job) = self.0.not_put_off.after(written).and_then(|mut written| written.pop().flatten()) {
            engine.publish(&job.queue, vec![Dispatch::of(&job)]).await;
        }
    }

    /// Of jobs that a claim did not get: acks those no longer queued, and keeps those that still are.
    async fn of_those_refused(&self, mut refused: Picked) {
        if refused.is_empty() {
            return;
        }
        let keys: Vec<JobKey> = refused.keys().cloned().collect();
        let waiting = self.0.engine.store().waiting(&keys).await;
        let Some(waiting) = self.0.not_sorted.after(waiting) else {
            self.0.inbox.put_back(refused.into_values().collect());
            return tokio::time::sleep(ASK_AGAIN).await;
        };
        let mut again = Vec::new();
        for job in waiting {
            match refused.remove(&job.key) {
                Some((band, in_hand)) if job.rescues > 0 => self.0.inbox.set_aside(&band, in_hand, job.rescues),
                // The claim failed, or the job was given back just now.
                Some(taken) => again.push(taken),
                None => {}
            }
        }
        self.0.inbox.put_back(again);
        refused.into_values().for_each(|(_, in_hand)| in_hand.ack());
    }

    /// After an ambiguous reply: which jobs the lease holds. `None` if that cannot be known before it ends.
    async fn read_back(
        &self,
        lease: LeaseId,
        keys: &[JobKey],
        until: Instant,
        error: &StoreError,
    ) -> Option<Vec<Claimed>> {
        tracing::debug!(jobs = keys.len(), "a claim got no clear answer");
        self.0.not_claimed.met(error);
        while Instant::now() < until {
            tokio::time::sleep(ASK_AGAIN).await;
            if let Ok(claimed) = self.0.engine.store().held(lease, keys).await {
                return Some(claimed);
            }
        }
        None
    }

    /// Changes the clocks of jobs that wait, and is done with their dispatches; of those that no longer wait, too.
    pub(super) async fn put_off(
        &self,
        dispatches: Vec<InHand>,
        decide: impl Fn(&Job, Timestamp) -> Result<Change, IllegalTransition>,
    ) {
        if dispatches.is_empty() {
            return;
        }
        let keys: Vec<JobKey> = dispatches.iter().map(|in_hand| in_hand.dispatch.key()).collect();
        dispatches.into_iter().for_each(InHand::ack);
        let engine = &self.0.engine;
        let written = async {
            let waiting = engine.store().waiting(&keys).await?;
            let changes: Vec<Change> = waiting.iter().filter_map(|job| decide(job, engine.now()).ok()).collect();
            if changes.is_empty() { Ok(Vec::new()) } else { engine.store().apply(changes).await }
        };
        if self.0.not_put_off.after(written.await).is_none() {
            tracing::debug!(jobs = keys.len(), "jobs could not be put off");
        }
    }
}
