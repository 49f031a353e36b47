//! What a schedule has to fire now, and when it is next.

use std::{collections::VecDeque, time::Duration};

use crate::{
    JobId, Timestamp,
    schedule::{Missed, ScheduleRecord},
};

/// The most instants that are fired at one time. Of more, the last are.
pub const CATCH_UP: usize = 100;
/// As far as missed instants are counted: beyond it, the count is "at least so many".
pub const MOST_COUNTED: usize = 10_000;

/// Instants are whole seconds.
const SECOND: i64 = 1_000;

/// What to do at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Make its job.
    Fire,
    /// Make none: the last one has not ended.
    Skip,
    /// Cancel the last job, and make its job.
    Replace,
}

/// What a schedule has to fire, decided at one moment on the record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firings {
    /// The instants to fire, oldest first; at most [`CATCH_UP`].
    pub instants: Vec<Timestamp>,
    /// How many instants are let go; counted as far as [`MOST_COUNTED`].
    pub missed_count: u64,
    /// When the schedule must be looked at next: always after the moment of the decision. `None` if never.
    pub next: Option<Timestamp>,
    /// The moment of the decision.
    pub decided_at: Timestamp,
    /// The `fired_through` that the record gets when all this is done.
    pub through: Timestamp,
}

impl ScheduleRecord {
    /// What to fire at this moment. An instant is missed if it is older than `grace`. Every instant since
    /// `fired_through` is either among those to fire or among those counted, and none is in the next decision's.
    ///
    /// Whoever carries it out inserts first and advances the record then, by compare-and-swap. Whoever finds the
    /// record unchanged after a crash does all of it again, and finds the jobs that are there by their ids.
    #[must_use]
    pub fn firings(&self, now: Timestamp, grace: Duration) -> Firings {
        // A clock that was put back fires nothing until it has caught up.
        let through = self.fired_through.max(now);
        if self.paused {
            return Firings { instants: Vec::new(), missed_count: 0, next: None, decided_at: now, through };
        }
        let oldest_in_time = now - grace;
        let before_oldest = oldest_in_time - Duration::from_millis(1);
        let (in_time, unfired) = self.last_between(self.fired_through.max(before_oldest), now, CATCH_UP);
        let most = match self.missed {
            Missed::Skip => 0,
            Missed::FireOnce => 1,
            Missed::FireAll => CATCH_UP,
        };
        let (mut instants, missed) =
            self.last_between(self.fired_through, before_oldest.min(now), most.min(CATCH_UP - in_time.len()));
        instants.extend(in_time);
        let next = self.cron.next_after(through, &self.time_zone);
        Firings { instants, missed_count: missed + unfired, next, decided_at: now, through }
    }

    /// The next instants after this moment, whether it is paused or not.
    #[must_use]
    pub fn next_instants(&self, after: Timestamp, most: usize) -> Vec<Timestamp> {
        self.cron.instants_after(after, &self.time_zone).take(most).collect()
    }

    /// When a scheduler must look at it next. `None` while it is paused.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.paused { None } else { self.cron.next_after(self.fired_through, &self.time_zone) }
    }

    /// Notes that the firings are done, and which job was made last, if one was.
    pub fn advance(&mut self, firings: &Firings, last_job: Option<JobId>) {
        self.fired_through = firings.through;
        self.last_job = last_job.or(self.last_job);
    }

    /// The last instants after `start` and up to `end`, oldest first, and how many there are before them.
    fn last_between(&self, start: Timestamp, end: Timestamp, most: usize) -> (Vec<Timestamp>, u64) {
        let (mut last, mut seen) = (VecDeque::with_capacity(most + 1), 0);
        for instant in self.up_to(start, end).take(MOST_COUNTED) {
            seen += 1;
            last.push_back(instant);
            if last.len() > most {
                last.pop_front();
            }
        }
        if seen == MOST_COUNTED && most > 0 {
            last = self.up_to(self.start_of_last(start, end, most), end).collect();
        }
        let left_out = (seen - last.len()) as u64;
        (last.into(), left_out)
    }

    /// A moment after which there are just so many instants up to `end`. There are more after `start`.
    fn start_of_last(&self, start: Timestamp, end: Timestamp, most: usize) -> Timestamp {
        let (mut too_many, mut few_enough) = (start.as_millis(), end.as_millis());
        while few_enough - too_many > SECOND {
            let middle = too_many + (few_enough - too_many) / 2;
            if self.up_to(Timestamp::from_millis(middle), end).take(most + 1).count() > most {
                too_many = middle;
            } else {
                few_enough = middle;
            }
        }
        Timestamp::from_millis(few_enough)
    }

    fn up_to(&self, start: Timestamp, end: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.cron.instants_after(start, &self.time_zone).take_while(move |&instant| instant <= end)
    }
}

impl Firings {
    /// What of it is done when no more than the first so many instants were seen to: the others come again, at once.
    /// Those that are let go lie before all of them. `None` if nothing is done.
    #[must_use]
    pub fn seen_to(mut self, instants: usize) -> Option<Self> {
        if instants < self.instants.len() {
            self.instants.truncate(instants);
            self.through = *self.instants.last()?;
            self.next = Some(self.decided_at);
        }
        Some(self)
    }

    /// Whether too much time has passed since the decision for carrying it out. A scheduler that was frozen for
    /// longer than its lead lasts has to read again: what it would insert may have been fired, run and deleted.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp, leader_lease: Duration) -> bool {
        now.since(self.decided_at) > leader_lease
    }
}
