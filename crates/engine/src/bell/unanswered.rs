//! Jobs that this process has rung for and that nobody has answered yet, as far as it knows.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use gristmill_common::{
    BandKey, QueueName, Timestamp,
    job::{Job, JobKey},
    message::Dispatch,
};

/// How many unanswered rings are remembered; what is over is rung again a little early.
const MOST_REMEMBERED: usize = 100_000;
/// A job that is still queued so long after its ring is marked.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How many unanswered jobs of a band a submitter may ring for, however slowly they are answered.
pub(super) const ALWAYS_ALLOWED: usize = 256;
/// The same while nobody leads. What is over waits for whoever leads next.
pub(super) const ALLOWED_ALONE: usize = 1_024;
/// It may ring for as many as were answered in this time.
const PACE_TIME: Duration = Duration::from_millis(500);
/// Answers are counted in slices of this time.
const SLICE: Duration = Duration::from_millis(50);

/// Rings without an answer, and how fast answers come.
#[derive(Default)]
pub(super) struct Unanswered {
    rung: HashMap<JobKey, Ring>,
    /// In the order of the rings.
    order: VecDeque<(Instant, JobKey)>,
    bands: HashMap<BandKey, Band>,
}

/// One ring.
struct Ring {
    /// How often the job had been claimed.
    claims: u32,
    band: BandKey,
    rung: Instant,
    /// The same moment by the clock that jobs go by; `None` as long as the submitter is about to ring.
    at: Option<Timestamp>,
}

#[derive(Default)]
struct Band {
    ringing: usize,
    /// How many answers came, by the beginning of each slice.
    answers: VecDeque<(Instant, usize)>,
}

/// A ring that should have been answered.
pub(super) struct Overdue {
    pub(super) key: JobKey,
    /// How often the job had been claimed when it was rung for.
    claims: u32,
    pub(super) band: BandKey,
    at: Option<Timestamp>,
}

impl Overdue {
    /// Whether the ring was published, or begun to be.
    pub(super) fn went_out(&self) -> bool {
        self.at.is_some()
    }

    /// Whether the job still waits as it did when it was rung for.
    pub(super) fn is_for(&self, job: &Job, now: Timestamp) -> bool {
        is_for(self.claims, self.at, job, now)
    }
}

/// Whether a ring of that moment is for the job as it is now. It is not if the job was claimed since, or if its clock
/// came to stand at a later moment that has passed too: then it was parked, or put off, and is due once more.
fn is_for(claims: u32, at: Option<Timestamp>, job: &Job, now: Timestamp) -> bool {
    let is_due_again = at.is_some_and(|at| at < job.wake_at && job.wake_at <= now);
    claims == job.claims && !is_due_again
}

impl Unanswered {
    pub(super) fn is_ringing(&self, job: &Job, now: Timestamp) -> bool {
        self.rung.get(&job.key).is_some_and(|ring| is_for(ring.claims, ring.at, job, now))
    }

    /// Notes that a submitter is about to ring for this job, unless more of its band are unanswered than `always` and
    /// than are answered in half a second; says whether it may. A job that is not stored after all is forgotten with the overdue.
    pub(super) fn expect(&mut self, job: &Job, always: usize, now: Instant) -> bool {
        let band = BandKey { queue: job.queue.clone(), priority: job.priority };
        let allowed = self.bands.get_mut(&band).is_none_or(|band| band.ringing < band.pace(now).max(always));
        let expected = allowed && self.order.len() < MOST_REMEMBERED;
        if expected {
            self.add(job.key.clone(), Ring { claims: job.claims, band, rung: now, at: None });
        }
        expected
    }

    /// Notes what is rung.
    pub(super) fn remember(&mut self, queue: &QueueName, dispatches: &[Dispatch], now: Instant, at: Timestamp) {
        for dispatch in dispatches {
            let key = dispatch.key();
            if let Some(ring) = self.rung.get_mut(&key)
                && ring.claims == dispatch.claims
                && ring.at.is_none()
            {
                ring.at = Some(at);
                continue;
            }
            if self.order.len() >= MOST_REMEMBERED {
                return;
            }
            let band = BandKey { queue: queue.clone(), priority: dispatch.priority };
            self.add(key, Ring { claims: dispatch.claims, band, rung: now, at: Some(at) });
        }
    }

    pub(super) fn answered<'a>(&mut self, keys: impl Iterator<Item = &'a JobKey>, now: Instant) {
        for key in keys {
            if let Some(ring) = self.remove(key) {
                self.count_answer(&ring.band, now);
            }
        }
    }

    /// These were not rung for after all.
    pub(super) fn forget<'a>(&mut self, keys: impl Iterator<Item = &'a JobKey>) {
        keys.for_each(|key| drop(self.remove(key)));
    }

    /// Somebody has answered, though not in time.
    pub(super) fn count_answer(&mut self, band: &BandKey, now: Instant) {
        if let Some(band) = self.bands.get_mut(band) {
            match band.answers.back_mut() {
                Some((began, answers)) if now - *began < SLICE => *answers += 1,
                _ => band.answers.push_back((now, 1)),
            }
            band.drop_old_answers(now);
        }
    }

    /// Takes at most so many of those rung so long ago that they should have been claimed.
    pub(super) fn take_overdue(&mut self, most: usize, now: Instant) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        while overdue.len() < most && self.order.front().is_some_and(|(rung, _)| now - *rung >= ANSWER_TIME) {
            let Some((rung, key)) = self.order.pop_front() else { break };
            // Of two rings for one job, the later counts.
            if self.rung.get(&key).is_none_or(|ring| ring.rung != rung) {
                continue;
            }
            if let Some(Ring { claims, band, at, .. }) = self.remove(&key) {
                overdue.push(Overdue { key, claims, band, at });
            }
        }
        overdue
    }

    fn add(&mut self, key: JobKey, ring: Ring) {
        self.bands.entry(ring.band.clone()).or_default().ringing += 1;
        self.order.push_back((ring.rung, key.clone()));
        if let Some(before) = self.rung.insert(key, ring) {
            self.one_less(&before.band);
        }
    }

    fn remove(&mut self, key: &JobKey) -> Option<Ring> {
        let ring = self.rung.remove(key)?;
        self.one_less(&ring.band);
        Some(ring)
    }

    fn one_less(&mut self, band: &BandKey) {
        if let Some(band) = self.bands.get_mut(band) {
            band.ringing = band.ringing.saturating_sub(1);
        }
    }
}

impl Band {
    /// How many were answered lately.
    fn pace(&mut self, now: Instant) -> usize {
        self.drop_old_answers(now);
        self.answers.iter().map(|(_, answers)| answers).sum()
    }

    fn drop_old_answers(&mut self, now: Instant) {
        while self.answers.front().is_some_and(|(began, _)| now - *began >= PACE_TIME) {
            self.answers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{JobId, Tenant};

    use super::*;

    fn job() -> Job {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        Job::accepted(key, "sleep".parse().expect("a name"), Timestamp::from_millis(0))
    }

    /// Rings for as many jobs as it may, but no more than so many; returns them.
    fn ring_for(most: usize, unanswered: &mut Unanswered, now: Instant) -> Vec<JobKey> {
        let jobs = std::iter::repeat_with(job).take(most);
        jobs.take_while(|job| unanswered.expect(job, ALWAYS_ALLOWED, now)).map(|job| job.key).collect()
    }

    fn ring(unanswered: &mut Unanswered, now: Instant) -> Vec<JobKey> {
        ring_for(MOST_REMEMBERED, unanswered, now)
    }

    #[test]
    fn a_submitter_rings_for_some_hundred_that_nobody_answers() {
        let (mut unanswered, began) = (Unanswered::default(), Instant::now());
        let rung = ring(&mut unanswered, began);
        assert_eq!(rung.len(), ALWAYS_ALLOWED);
        assert_eq!(ring(&mut unanswered, began), []);
        let other = Job { queue: "other".parse().expect("a name"), ..job() };
        assert!(unanswered.expect(&other, ALWAYS_ALLOWED, began), "another band has its own");
        unanswered.forget(rung[..3].iter());
        assert_eq!(ring(&mut unanswered, began).len(), 3);
    }

    #[test]
    fn a_submitter_rings_as_fast_as_it_is_answered() {
        let (mut unanswered, began) = (Unanswered::default(), Instant::now());
        for millis in 0..10 {
            let now = began + Duration::from_millis(millis);
            let rung = ring_for(ALWAYS_ALLOWED, &mut unanswered, now);
            unanswered.answered(rung.iter(), now);
        }
        let now = began + Duration::from_millis(10);
        assert_eq!(ring(&mut unanswered, now).len(), 10 * ALWAYS_ALLOWED);
        let later = now + PACE_TIME;
        unanswered.take_overdue(MOST_REMEMBERED, later + ANSWER_TIME);
        assert_eq!(ring(&mut unanswered, later).len(), ALWAYS_ALLOWED);
    }

    #[test]
    fn what_is_rung_twice_counts_once_and_is_overdue_once() {
        let (mut unanswered, began, at) = (Unanswered::default(), Instant::now(), Timestamp::from_millis(0));
        let first = job();
        assert!(unanswered.expect(&first, ALWAYS_ALLOWED, began));
        unanswered.remember(&first.queue, &[Dispatch::of(&first)], began, at);
        let again = Job { claims: 1, ..first.clone() };
        unanswered.remember(&first.queue, &[Dispatch::of(&again)], began, at);
        assert_eq!(ring(&mut unanswered, began).len(), ALWAYS_ALLOWED - 1);
        assert!(unanswered.take_overdue(1_000, began).is_empty());
        let overdue = unanswered.take_overdue(1_000, began + ANSWER_TIME);
        assert_eq!(overdue.len(), ALWAYS_ALLOWED);
        assert_eq!((&overdue[0].key, overdue[0].claims), (&first.key, 1));
        assert!(overdue[0].went_out() && !overdue[1].went_out(), "the others were expected, and not published");
        assert!(!unanswered.is_ringing(&first, at));
    }

    #[test]
    fn a_ring_is_for_the_job_as_it_was() {
        let (mut unanswered, began) = (Unanswered::default(), Instant::now());
        let at = |millis| Timestamp::from_millis(millis);
        let first = Job { wake_at: at(100), ..job() };
        unanswered.remember(&first.queue, &[Dispatch::of(&first)], began, at(100));
        assert!(unanswered.is_ringing(&first, at(300)));
        // A submitter's ring: the clock of its job says when to ring if this was lost.
        assert!(unanswered.is_ringing(&Job { wake_at: at(5_100), ..first.clone() }, at(300)));
        let claimed_since = Job { claims: 1, wake_at: at(200), ..first.clone() };
        assert!(!unanswered.is_ringing(&claimed_since, at(300)));
        let parked_and_due_again = Job { wake_at: at(200), ..first.clone() };
        assert!(!unanswered.is_ringing(&parked_and_due_again, at(300)));
        let later = began + ANSWER_TIME / 2;
        unanswered.remember(&first.queue, &[Dispatch::of(&parked_and_due_again)], later, at(300));
        assert!(unanswered.is_ringing(&parked_and_due_again, at(400)));
        assert!(unanswered.take_overdue(1_000, began + ANSWER_TIME).is_empty(), "the later ring counts");
        let overdue = unanswered.take_overdue(1_000, later + ANSWER_TIME);
        assert!(overdue.len() == 1 && overdue[0].is_for(&parked_and_due_again, at(1_400)));
        assert!(!overdue[0].is_for(&Job { wake_at: at(1_350), ..first }, at(1_400)));
    }
}
