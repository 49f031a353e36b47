//! Claim: turns dispatches in hand into leases, many in one write.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures::future::join_all;
use gristmill_common::{
    BandKey, Class, LeaseId, Timestamp,
    job::{Change, IllegalTransition, Job, JobKey},
};
use gristmill_storage::{Claim, Claimed, StoreError, Whom};

use super::{Worker, inbox::InHand};

/// How long to wait before asking a store again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

type Picked = BTreeMap<JobKey, (BandKey, InHand)>;

impl Worker {
    /// Claims what comes into the inbox, as much at a time as there is room for, until the shutdown.
    pub(super) async fn claim_what_comes(self) {
        loop {
            tokio::select! {
                () = self.0.engine.shutdown().cancelled() => return,
                () = self.work_and_room() => {}
            }
            if !self.0.held.has_one_alone()
                && let Some(alone) = self.0.inbox.take_alone()
            {
                self.claim(vec![alone], Whom::Any).await;
            }
            // One lost worker leaves many jobs behind that were rescued once: they need not wait for each other.
            let rescued = self.0.inbox.take_rescued_once(self.room());
            join_all(rescued.into_iter().map(|one| self.claim(vec![one], Whom::Any))).await;
            let picked = self.0.inbox.take(self.room());
            let picked = self.sort_out(picked).await;
            self.claim(picked, Whom::NeverRescued).await;
        }
    }

    /// Waits until there is something to claim and room for it. While it is busy, it waits for enough room that
    /// a claim is worth its write.
    async fn work_and_room(&self) {
        loop {
            let mut room = std::pin::pin!(self.0.room.notified());
            room.as_mut().enable();
            if self.room() < (self.0.pace.ahead() / 4).max(1) {
                room.await;
                continue;
            }
            let alone_may_go = self.0.inbox.has_one_alone() && !self.0.held.has_one_alone();
            if alone_may_go || self.0.inbox.has_one_rescued_once() {
                return;
            }
            tokio::select! {
                () = self.0.inbox.arrival() => return,
                // Perhaps the one that was claimed alone has ended.
                () = room => {}
            }
        }
    }

    /// Puts jobs off that this worker cannot run, for want of a handler or of a thread: they are for others.
    async fn sort_out(&self, picked: Vec<(BandKey, InHand)>) -> Vec<(BandKey, InHand)> {
        let registry = &self.0.engine.0.registry;
        let has_threads = self.0.threads.check().is_ok();
        let (mut for_us, mut for_others, mut for_nobody) = (Vec::new(), Vec::new(), Vec::new());
        for (band, in_hand) in picked {
            match registry.get(&in_hand.dispatch.job_type) {
                Some(handler) if has_threads || handler.class() != Class::Cpu => for_us.push((band, in_hand)),
                Some(_) => for_others.push(in_hand),
                None => for_nobody.push(in_hand),
            }
        }
        self.put_off(for_others, |job, now| job.pass_on(now)).await;
        self.put_off(for_nobody, |job, now| job.postpone(now)).await;
        for_us
    }

    /// Claims jobs under one lease and starts them. Their dispatches are acked, and those of jobs no longer
    /// queued; those of jobs that were rescued before are set aside.
    async fn claim(&self, picked: Vec<(BandKey, InHand)>, whom: Whom) {
        // A doubled dispatch is acked with the first.
        let mut doubled = Vec::new();
        let mut by_key = Picked::new();
        for (band, in_hand) in picked {
            if let Some((_, before)) = by_key.insert(in_hand.dispatch.key(), (band, in_hand)) {
                doubled.push(before);
            }
        }
        if by_key.is_empty() {
            return;
        }
        let engine = &self.0.engine;
        let now = engine.now();
        let keys: Vec<JobKey> = by_key.keys().cloned().collect();
        let lease = LeaseId::fresh();
        let until = Instant::now() + self.0.config.lease;
        let claim = Claim { keys: keys.clone(), lease, worker: self.0.id, now, until: now + self.0.config.lease, whom };
        let claimed = match engine.store().claim(claim).await {
            Ok(claimed) => {
                self.0.not_claimed.over();
                claimed
            }
            Err(error) => match self.read_back(lease, &keys, until, &error).await {
                Some(claimed) => claimed,
                None => {
                    // Whatever it got is lost to it, and will be rescued; the rest is claimed anew.
                    self.0.inbox.put_back(by_key.into_values().collect());
                    return;
                }
            },
        };
        engine.0.bell.answered(claimed.iter().map(|claimed| &claimed.job.key));
        self.0.claimed.fetch_add(claimed.len(), Ordering::Relaxed);
        metrics::counter!("gristmill_jobs_claimed_total").increment(claimed.len() as u64);
        for claimed in claimed {
            if let Some((_, in_hand)) = by_key.remove(&claimed.job.key) {
                in_hand.ack();
            }
            self.start(claimed, until);
        }
        doubled.into_iter().for_each(InHand::ack);
        self.of_those_refused(by_key).await
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
