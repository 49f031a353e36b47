//! Redispatch: feeds the broker from the store. A window bounds what waits in the broker; beyond it the store is
//! the backlog, and is fed lane by lane in turn, so that one tenant's million jobs never hide another's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use gristmill_broker::BrokerError;
use gristmill_common::{
    BandKey, JobId, State, Timestamp,
    job::{Job, Lane, Priority},
    message::Dispatch,
};
use gristmill_storage::{DueScan, Position, StoreError};

use super::{
    Scheduler,
    turns::{Turns, one_of_each, share},
    window::Window,
};
use crate::usecases::submit::RING_GRACE;

/// How soon bands are fed again while there is much to feed.
const FEED_AGAIN: Duration = Duration::from_millis(20);
/// For how long after the latest feeding that came to something.
const KEEP_FEEDING: Duration = Duration::from_secs(1);
/// How often a band that has lost its messages is filled again.
const REFILL_EVERY: Duration = Duration::from_secs(10);
/// How many bands are fed at once.
const MOST_AT_ONCE: usize = 8;
/// A band whose feeding took so long, and came to nothing, is sick.
const SICK_AFTER: Duration = Duration::from_secs(2);
/// For how long a sick band is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// The most jobs of one refill, for the sake of memory; should that not be all, there is another.
const MOST_REFILLED: usize = 1_000_000;

/// What is known of one band from one feeding to the next.
#[derive(Default)]
struct Feed {
    window: Window,
    turns: Turns,
    /// How far each lane has been read.
    cursors: Cursors,
    refill: Option<Refill>,
    refilled: Option<Instant>,
    /// The broker did not answer in time: it is not asked before this moment.
    sick_until: Option<Instant>,
}

type Cursors = HashMap<Lane, Position>;

/// The broker has lost the messages of a band: all its jobs are rung once more, whatever their clocks say.
#[derive(Default)]
struct Refill {
    cursors: Cursors,
    /// The lanes that were read to their ends.
    done: HashSet<Lane>,
    /// Those rung already: one that is put off moves to the lane's end, and must not be rung for ever.
    rung: HashSet<JobId>,
}

/// What waits in a band, as far as there is room for it.
struct Found {
    jobs: Vec<Job>,
    /// Whether more waits than there was room for.
    more: bool,
    /// The lanes that were read to their ends.
    ended: Vec<Lane>,
}

impl Scheduler {
    /// Feeds the broker while this scheduler leads: at every tick, and soon again while there is much to feed.
    pub(super) async fn feed_the_broker(&self) {
        let mut feeds: BTreeMap<BandKey, Feed> = BTreeMap::new();
        let mut fed: Option<Instant> = None;
        loop {
            let soon = fed.is_some_and(|at| at.elapsed() < KEEP_FEEDING);
            let asked = async {
                if !soon {
                    tokio::select! {
                        () = tokio::time::sleep(self.config.tick.saturating_sub(FEED_AGAIN)) => {}
                        () = self.engine.0.bell.is_left_to_the_leader() => fed = Some(Instant::now()),
                    }
                }
            };
            asked.await;
            if self.engine.sleeps_through(FEED_AGAIN).await {
                return;
            }
            if !self.lead.is_leading() {
                feeds.clear();
                continue;
            }
            match self.feed(&mut feeds).await {
                Ok(rung) => {
                    self.not_fed.over();
                    if rung > 0 || feeds.values().any(|feed| feed.window.is_busy()) {
                        fed = Some(Instant::now());
                    }
                }
                Err(error) => {
                    self.lead.lost_the_store();
                    self.not_fed.met(&error);
                }
            }
        }
    }

    /// Feeds every band once, some at a time; says how many jobs were rung.
    async fn feed(&self, feeds: &mut BTreeMap<BandKey, Feed>) -> Result<usize, StoreError> {
        let mut lanes: BTreeMap<BandKey, Vec<Lane>> = BTreeMap::new();
        for lane in self.engine.store().lanes().await? {
            let band = BandKey { queue: lane.queue.clone(), priority: lane.priority };
            lanes.entry(band).or_default().push(lane);
        }
        let mut fed = BTreeMap::new();
        for queue in self.engine.0.board.queues().into_iter().filter(|queue| !queue.paused) {
            for priority in Priority::ALL {
                let band = BandKey { queue: queue.name.clone(), priority };
                fed.insert(band.clone(), feeds.remove(&band).unwrap_or_default());
            }
        }
        let feeding: Vec<_> = fed
            .iter_mut()
            .filter(|(_, feed)| feed.sick_until.is_none_or(|until| until <= Instant::now()))
            .map(|(band, feed)| self.feed_band(band, feed, lanes.get(band).map_or(&[], Vec::as_slice)))
            .collect();
        let outcomes: Vec<_> = stream::iter(feeding).buffer_unordered(MOST_AT_ONCE).collect().await;
        let backlog = fed.iter().filter(|(_, feed)| feed.window.has_backlog()).map(|(band, _)| band.clone()).collect();
        // What is known of bands that are paused is kept.
        feeds.append(&mut fed);
        let (mut rung, mut told) = (0, Ok(()));
        for outcome in outcomes {
            match outcome? {
                Ok(published) => rung += published,
                Err(error) => told = Err(error),
            }
        }
        self.no_depth.after(told);
        self.lead.set_backlog(backlog);
        Ok(rung)
    }

    /// Feeds one band; says how many jobs were rung, or why the broker does not say how many wait there.
    async fn feed_band(
        &self,
        band: &BandKey,
        feed: &mut Feed,
        lanes: &[Lane],
    ) -> Result<Result<usize, BrokerError>, StoreError> {
        let asked = Instant::now();
        let ready = match self.engine.broker().depth(band).await {
            Ok(ready) => ready,
            Err(error) => {
                feed.leave_alone_if_slow(asked);
                return Ok(Err(error));
            }
        };
        feed.window.look(ready, lanes.len(), asked);
        if lanes.is_empty() {
            feed.cursors.clear();
            feed.window.fed(0, false);
            return Ok(Ok(0));
        }
        feed.start_refill_if_lost(ready);
        let found = self.what_waits(feed, lanes, feed.window.room()).await?;
        feed.window.fed(0, found.more);
        feed.turns.count(&found.jobs);
        let dispatches: Vec<Dispatch> = found.jobs.iter().map(Dispatch::of).collect();
        if dispatches.is_empty() {
            return Ok(Ok(0));
        }
        let began = Instant::now();
        let published = self.engine.publish(&band.queue, dispatches).await;
        if published == 0 {
            feed.leave_alone_if_slow(began);
        }
        feed.window.fed(published, found.more);
        Ok(Ok(published))
    }

    /// The jobs to ring: those whose clocks say so, and with what room is left, those of a refill.
    async fn what_waits(&self, feed: &mut Feed, lanes: &[Lane], room: usize) -> Result<Found, StoreError> {
        let now = self.engine.now();
        let lanes = feed.turns.in_order(lanes, Instant::now());
        let mut found = self.next_in(&lanes, &mut feed.cursors, now, room).await?;
        found.jobs.retain(|job| !self.engine.0.bell.is_ringing(job, now));
        if room == 0 {
            // Whether more waits decides if newcomers may go ahead.
            found.more = !found.jobs.is_empty();
            found.jobs.clear();
        }
        let left = room.saturating_sub(found.jobs.len());
        if let Some(refill) = &mut feed.refill
            && left > 0
        {
            let lanes: Vec<&Lane> = lanes.into_iter().filter(|lane| !refill.done.contains(lane)).collect();
            let lost = self.next_in(&lanes, &mut refill.cursors, Timestamp::MAX, left).await?;
            for job in lost.jobs {
                // What is due is found anyway.
                let is_lost = job.wake_at > now && !self.is_being_rung_for(&job);
                if is_lost && refill.rung.insert(job.key.id) {
                    found.jobs.push(job);
                }
            }
            refill.done.extend(lost.ended);
            let is_done = lanes.iter().all(|lane| refill.done.contains(lane));
            if is_done || refill.rung.len() >= MOST_REFILLED {
                feed.refill = None;
            }
        }
        Ok(found)
    }

    /// Whether its ring is still unanswered, or its submitter is about to ring.
    fn is_being_rung_for(&self, job: &Job) -> bool {
        let submitter_is_gone = self.alone_since.get().is_some_and(|&since| job.wake_at <= since + RING_GRACE);
        self.engine.0.bell.is_ringing(job, self.engine.now()) || (job.rings == 0 && !submitter_is_gone)
    }

    /// The next jobs of these lanes in turn whose clocks stand at this time or earlier, from where the cursors are. A
    /// lane that was read to its end begins anew.
    async fn next_in(
        &self,
        lanes: &[&Lane],
        cursors: &mut Cursors,
        until: Timestamp,
        room: usize,
    ) -> Result<Found, StoreError> {
        let (mut of_lanes, mut left, mut more, mut ended) = (Vec::new(), room, false, Vec::new());
        let now = self.engine.now();
        for (place, &lane) in lanes.iter().enumerate() {
            let share = share(left, lanes.len() - place);
            let after = cursors.get(lane).copied();
            let scan = DueScan { state: State::Queued, lane: Some(lane.clone()), until, after, limit: share };
            let jobs = self.engine.store().due(&scan).await?;
            match jobs.last() {
                Some(last) if jobs.len() == share => {
                    more = true;
                    // Without room what was read is not rung, and must be read again.
                    if room > 0 {
                        cursors.insert(lane.clone(), Position { at: last.wake_at, id: last.key.id });
                    }
                }
                _ => {
                    cursors.remove(lane);
                    ended.push(lane.clone());
                }
            }
            left = left.saturating_sub(jobs.len());
            let is_enough = match room {
                0 => jobs.iter().any(|job| !self.engine.0.bell.is_ringing(job, now)),
                _ => left == 0,
            };
            of_lanes.push(jobs);
            // The other lanes are first next time.
            if is_enough {
                break;
            }
        }
        Ok(Found { jobs: one_of_each(of_lanes), more, ended })
    }
}

impl Feed {
    /// What was asked of the broker at this moment came to nothing.
    fn leave_alone_if_slow(&mut self, asked: Instant) {
        if asked.elapsed() >= SICK_AFTER {
            self.sick_until = Some(Instant::now() + LEFT_ALONE);
        }
    }

    /// Nothing waits in the broker though jobs wait as queued: it was purged, or has forgotten them. Those in the
    /// hands of workers are rung again too, which does no harm and fills the band, so that it looks lost no longer.
    fn start_refill_if_lost(&mut self, ready: usize) {
        if ready == 0 && self.refill.is_none() && self.refilled.is_none_or(|at| at.elapsed() >= REFILL_EVERY) {
            self.refill = Some(Refill::default());
            self.refilled = Some(Instant::now());
        }
    }
}
