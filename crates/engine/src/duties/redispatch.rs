//! Redispatch: feeds the broker from the store. A window bounds what waits in the broker; beyond it the store is
//! the backlog, and is fed lane by lane in turn, so that one tenant's million jobs never hide another's.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use gristmill_broker::{Depth, MOST_READY};
use gristmill_common::{
    BandKey, State, Timestamp,
    job::{Job, Lane, Priority},
    message::Dispatch,
};
use gristmill_storage::{DueScan, Position, StoreError};

use super::Scheduler;

/// The least that may wait in a band.
const LEAST_WINDOW: usize = 64;
/// The window is what was consumed in this time.
const WINDOW_TIME: Duration = Duration::from_secs(1);
/// How soon a band that was fed is fed again.
const FEED_AGAIN: Duration = Duration::from_millis(20);
/// How often a band that has lost its messages is filled again.
const REFILL_EVERY: Duration = Duration::from_secs(10);

/// What is known of one band from one feeding to the next.
#[derive(Default)]
struct Feed {
    /// When how much had been consumed in all.
    consumed: VecDeque<(Instant, u64)>,
    /// How far each lane has been read.
    cursors: HashMap<Lane, Position>,
    /// Jobs are rung whatever their clock says, because the broker has lost their messages: until the lanes have
    /// been read to their ends.
    refilling: bool,
    refilled: Option<Instant>,
}

/// What a feeding found.
struct Fed {
    rung: usize,
    /// Whether more waits than there was room for.
    more: bool,
}

impl Scheduler {
    /// Feeds the broker while this scheduler leads: at every tick, and soon again while there is much to feed.
    pub(super) async fn feed_the_broker(&self) {
        let mut feeds: BTreeMap<BandKey, Feed> = BTreeMap::new();
        let mut pause = self.config.tick;
        while !self.engine.sleeps_through(pause).await {
            pause = self.config.tick;
            if !self.lead.is_leading() {
                feeds.clear();
                continue;
            }
            match self.feed(&mut feeds).await {
                Ok(0) => {}
                Ok(_) => pause = FEED_AGAIN,
                Err(error) => {
                    self.lead.lost_the_store();
                    tracing::warn!(%error, "the broker was not fed; trying again");
                }
            }
        }
    }

    /// Feeds every band once; says how many jobs were rung.
    async fn feed(&self, feeds: &mut BTreeMap<BandKey, Feed>) -> Result<usize, StoreError> {
        let mut lanes: BTreeMap<BandKey, Vec<Lane>> = BTreeMap::new();
        for lane in self.engine.store().lanes().await? {
            let band = BandKey { queue: lane.queue.clone(), priority: lane.priority };
            lanes.entry(band).or_default().push(lane);
        }
        let (mut rung, mut backlog) = (0, Vec::new());
        for queue in self.engine.0.board.queues().into_iter().filter(|queue| !queue.paused) {
            for priority in Priority::ALL {
                let band = BandKey { queue: queue.name.clone(), priority };
                let feed = feeds.entry(band.clone()).or_default();
                let depth = match self.engine.broker().depth(&band).await {
                    Ok(depth) => depth,
                    Err(error) => {
                        tracing::debug!(queue = %band.queue, %error, "the broker does not say what waits");
                        continue;
                    }
                };
                let window = feed.window(depth);
                let Some(lanes) = lanes.get(&band) else {
                    feed.cursors.clear();
                    continue;
                };
                feed.start_refill_if_lost(depth);
                let room = window.saturating_sub(depth.ready);
                let fed = self.feed_band(&band, feed, lanes, room).await?;
                rung += fed.rung;
                if fed.more {
                    backlog.push(band);
                }
            }
        }
        self.lead.set_backlog(backlog);
        Ok(rung)
    }

    async fn feed_band(&self, band: &BandKey, feed: &mut Feed, lanes: &[Lane], room: usize) -> Result<Fed, StoreError> {
        let now = self.engine.now();
        // Even without room one entry is read: whether more waits decides if newcomers may go ahead.
        let share = room.div_ceil(lanes.len()).max(1);
        let (mut dispatches, mut more) = (Vec::new(), false);
        for lane in lanes {
            let until = if feed.refilling { Timestamp::MAX } else { now };
            let after = feed.cursors.get(lane).copied();
            let scan = DueScan { state: State::Queued, lane: Some(lane.clone()), until, after, limit: share };
            let jobs = self.engine.store().due(&scan).await?;
            let at_the_end = jobs.len() < share;
            if room == 0 {
                more |= jobs.iter().any(|job| self.is_for_us_to_ring(job, feed.refilling, now));
                continue;
            }
            match jobs.last() {
                Some(last) if !at_the_end => {
                    feed.cursors.insert(lane.clone(), Position { at: last.wake_at, id: last.key.id });
                    more = true;
                }
                _ => {
                    feed.cursors.remove(lane);
                }
            }
            let ours = jobs.iter().filter(|job| self.is_for_us_to_ring(job, feed.refilling, now));
            dispatches.extend(ours.map(Dispatch::of));
        }
        if room > 0 && !more {
            feed.refilling = false;
        }
        let rung = if dispatches.is_empty() { 0 } else { self.engine.publish(&band.queue, dispatches).await };
        Ok(Fed { rung, more })
    }

    /// Not one whose ring is still unanswered, and, in a refill, not one that its submitter is about to ring.
    fn is_for_us_to_ring(&self, job: &Job, refilling: bool, now: Timestamp) -> bool {
        let its_submitter_will = refilling && job.rings == 0 && job.wake_at > now;
        !its_submitter_will && !self.engine.0.bell.is_ringing(&job.key)
    }
}

impl Feed {
    /// How much may wait in the band: about what was consumed in the last second.
    fn window(&mut self, depth: Depth) -> usize {
        let now = Instant::now();
        self.consumed.push_back((now, depth.acked_total));
        while self.consumed.len() > 1 && self.consumed.front().is_some_and(|(at, _)| now - *at > WINDOW_TIME) {
            self.consumed.pop_front();
        }
        let before = self.consumed.front().map_or(depth.acked_total, |(_, total)| *total);
        let consumed = usize::try_from(depth.acked_total.saturating_sub(before)).unwrap_or(MOST_READY);
        consumed.clamp(LEAST_WINDOW, MOST_READY)
    }

    /// Nothing is in the broker though jobs wait as queued: it was purged, or has forgotten them.
    fn start_refill_if_lost(&mut self, depth: Depth) {
        let empty = depth.ready == 0 && depth.unacked == 0;
        if empty && !self.refilling && self.refilled.is_none_or(|at| at.elapsed() >= REFILL_EVERY) {
            self.refilling = true;
            self.refilled = Some(Instant::now());
            self.cursors.clear();
        }
    }
}
