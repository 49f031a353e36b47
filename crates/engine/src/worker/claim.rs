//! Claim: turns dispatches in hand into leases, many in one write.

use std::{collections::BTreeMap, time::Duration};

use gristmill_common::{
    BandKey, LeaseId, Timestamp,
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
        let mut alone = Vec::new();
        loop {
            tokio::select! {
                () = self.0.engine.shutdown().cancelled() => return,
                () = self.work_and_room(!alone.is_empty()) => {}
            }
            if !alone.is_empty() && !self.0.held.has_one_alone() {
                let next = alone.remove(0);
                alone.extend(self.claim(vec![next], Whom::Any).await);
            }
            let picked = self.0.inbox.take(self.room());
            if !picked.is_empty() {
                let picked = self.sort_out(picked).await;
                alone.extend(self.claim(picked, Whom::NeverRescued).await);
            }
        }
    }

    /// Waits until there is something to claim and room for it. While it is busy, it waits for enough room that
    /// a claim is worth its write.
    async fn work_and_room(&self, one_waits_alone: bool) {
        loop {
            let mut room = std::pin::pin!(self.0.room.notified());
            room.as_mut().enable();
            if self.room() >= (self.0.pace.ahead() / 4).max(1) {
                if one_waits_alone && !self.0.held.has_one_alone() {
                    return;
                }
                tokio::select! {
                    () = self.0.inbox.arrival() => return,
                    () = room, if one_waits_alone => continue,
                }
            }
            room.await;
        }
    }

    /// Puts jobs off whose type this worker does not have: they are for others.
    async fn sort_out(&self, picked: Vec<(BandKey, InHand)>) -> Vec<(BandKey, InHand)> {
        let registry = &self.0.engine.0.registry;
        let (known, unknown): (Vec<_>, Vec<_>) =
            picked.into_iter().partition(|(_, in_hand)| registry.get(&in_hand.dispatch.job_type).is_some());
        for (_, in_hand) in unknown {
            let key = in_hand.dispatch.key();
            in_hand.ack();
            self.put_off(&key, |job, now| job.postpone(now)).await;
        }
        known
    }

    /// Claims jobs under one lease and starts them. Their dispatches are acked, and those of jobs no longer
    /// queued. Returns those that must be claimed alone, because they were rescued before.
    async fn claim(&self, picked: Vec<(BandKey, InHand)>, whom: Whom) -> Vec<(BandKey, InHand)> {
        // A doubled dispatch is acked with the first.
        let mut doubled = Vec::new();
        let mut by_key = Picked::new();
        for (band, in_hand) in picked {
            if let Some((_, before)) = by_key.insert(in_hand.dispatch.key(), (band, in_hand)) {
                doubled.push(before);
            }
        }
        if by_key.is_empty() {
            return Vec::new();
        }
        let engine = &self.0.engine;
        let now = engine.now();
        let keys: Vec<JobKey> = by_key.keys().cloned().collect();
        let lease = LeaseId::fresh();
        let until = now + self.0.config.lease;
        let claim = Claim { keys: keys.clone(), lease, worker: self.0.id, now, until, whom };
        let claimed = match engine.store().claim(claim).await {
            Ok(claimed) => claimed,
            Err(error) => match self.read_back(lease, &keys, until, &error).await {
                Some(claimed) => claimed,
                None => {
                    // Whatever it got is lost to it, and will be rescued; the rest is claimed anew.
                    self.0.inbox.put_back(by_key.into_values().collect());
                    return Vec::new();
                }
            },
        };
        engine.0.bell.answered(claimed.iter().map(|claimed| &claimed.job.key));
        metrics::counter!("gristmill_jobs_claimed_total").increment(claimed.len() as u64);
        for claimed in claimed {
            if let Some((_, in_hand)) = by_key.remove(&claimed.job.key) {
                in_hand.ack();
            }
            self.start(claimed, until, whom);
        }
        doubled.into_iter().for_each(InHand::ack);
        self.of_those_refused(by_key).await
    }

    /// Of jobs that a claim did not get: acks those no longer queued, returns those that still are.
    async fn of_those_refused(&self, mut refused: Picked) -> Vec<(BandKey, InHand)> {
        if refused.is_empty() {
            return Vec::new();
        }
        let keys: Vec<JobKey> = refused.keys().cloned().collect();
        match self.0.engine.store().waiting(&keys).await {
            Ok(waiting) => {
                let still = waiting.iter().filter_map(|job| refused.remove(&job.key)).collect();
                refused.into_values().for_each(|(_, in_hand)| in_hand.ack());
                still
            }
            Err(error) => {
                tracing::warn!(%error, "refused jobs could not be read; their dispatches are tried again");
                self.0.inbox.put_back(refused.into_values().collect());
                tokio::time::sleep(ASK_AGAIN).await;
                Vec::new()
            }
        }
    }

    /// After an ambiguous reply: which jobs the lease holds. `None` if that cannot be known before it ends.
    async fn read_back(
        &self,
        lease: LeaseId,
        keys: &[JobKey],
        until: Timestamp,
        error: &StoreError,
    ) -> Option<Vec<Claimed>> {
        tracing::warn!(%error, "a claim got no clear answer; reading back what it holds");
        while self.0.engine.now() < until {
            tokio::time::sleep(ASK_AGAIN).await;
            if let Ok(claimed) = self.0.engine.store().held(lease, keys).await {
                return Some(claimed);
            }
        }
        None
    }

    /// Changes the clock of a job that waits; if it no longer waits, that is as well.
    pub(super) async fn put_off(
        &self,
        key: &JobKey,
        decide: impl Fn(&Job, Timestamp) -> Result<Change, IllegalTransition>,
    ) {
        let engine = &self.0.engine;
        let written = async {
            let waiting = engine.store().waiting(std::slice::from_ref(key)).await?;
            let changes: Vec<Change> = waiting.iter().filter_map(|job| decide(job, engine.now()).ok()).collect();
            if changes.is_empty() { Ok(Vec::new()) } else { engine.store().apply(changes).await }
        };
        if let Err(error) = written.await {
            tracing::warn!(job.id = %key.id, %error, "a job could not be put off; it is rung again by its own clock");
        }
    }
}
