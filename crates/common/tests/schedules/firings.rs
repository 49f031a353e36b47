//! What a schedule fires, and what it does not.

use std::time::Duration;

use gristmill_common::{
    JobId, ScheduleId, State,
    job::{Backoff, Priority},
    schedule::{CATCH_UP, MOST_COUNTED, Missed, Overlap, ScheduleRecord, Turn},
};

use crate::{GRACE, at, record};

#[test]
fn missed_instants_are_skipped_fired_once_or_all_fired() {
    let now = at("2026-11-21T12:05:03Z");
    let fired = |missed| {
        let record = ScheduleRecord { missed, ..record("* * * * *", "UTC", at("2026-11-21T12:00:00Z")) };
        let firings = record.firings(now, GRACE);
        assert_eq!((firings.next, firings.through), (Some(at("2026-11-21T12:06:00Z")), now));
        let minutes = firings.instants.iter().map(|instant| instant.as_millis() / 60_000 % 60).collect::<Vec<_>>();
        (minutes, firings.missed_count)
    };
    // The one at 12:05:00 is in time.
    assert_eq!(fired(Missed::Skip), (vec![5], 4));
    assert_eq!(fired(Missed::FireOnce), (vec![4, 5], 3));
    assert_eq!(fired(Missed::FireAll), (vec![1, 2, 3, 4, 5], 0));
}

#[test]
fn of_very_many_missed_instants_the_last_hundred_are_fired() {
    let begin = at("2026-11-20T12:00:00Z");
    for (after, counted) in [(1_000, 1_000), (86_400, MOST_COUNTED), (400 * 86_400, MOST_COUNTED)] {
        let now = begin + Duration::from_secs(after);
        let firings = record("* * * * * *", "UTC", begin).firings(now, GRACE);
        let last = (0..CATCH_UP as u64).rev().map(|ago| now - Duration::from_secs(ago)).collect::<Vec<_>>();
        assert_eq!(firings.instants, last);
        // 11 are in time, and are not among those that were looked for.
        let counted = if counted == MOST_COUNTED { counted - (CATCH_UP - 11) } else { counted - CATCH_UP };
        assert_eq!(firings.missed_count, counted as u64);
    }
    // All of them on one day of the year, which lies far back.
    let firings = record("* * * 1 1 *", "UTC", at("2026-01-01T00:00:00Z")).firings(at("2026-11-20T12:00:00Z"), GRACE);
    assert_eq!(firings.instants.last(), Some(&at("2026-01-01T23:59:59Z")));
    assert_eq!(firings.instants.len(), CATCH_UP);
}

#[test]
fn what_was_not_seen_to_comes_again_and_nothing_else_does() {
    let now = at("2026-11-21T12:05:03Z");
    let mut record =
        ScheduleRecord { missed: Missed::FireAll, ..record("* * * * *", "UTC", at("2026-11-21T10:00:00Z")) };
    let all = record.firings(now, GRACE);
    assert_eq!((all.instants.len(), all.missed_count), (CATCH_UP, 25));
    assert_eq!(all.clone().seen_to(0), None);
    assert_eq!(all.clone().seen_to(CATCH_UP), Some(all.clone()));
    let some = all.clone().seen_to(40).expect("something is done");
    assert_eq!((some.through, some.next), (all.instants[39], Some(now)));
    record.advance(&some, None);
    let rest = record.firings(now, GRACE);
    assert_eq!((rest.instants.as_slice(), rest.missed_count), (&all.instants[40..], 0));
}

#[test]
fn a_paused_schedule_fires_nothing_and_misses_nothing() {
    let mut record = record("* * * * *", "UTC", at("2026-11-21T12:00:00Z"));
    record.pause(at("2026-11-21T12:00:30Z"));
    let firings = record.firings(at("2026-11-21T13:00:00Z"), GRACE);
    assert_eq!((firings.instants.len(), firings.missed_count, firings.next), (0, 0, None));
    assert_eq!(record.due_at(), None);
    record.resume(at("2026-11-21T13:00:30Z"));
    assert_eq!(record.due_at(), Some(at("2026-11-21T13:01:00Z")));
    // To resume what runs changes nothing.
    record.resume(at("2026-11-21T14:00:00Z"));
    assert_eq!(record.due_at(), Some(at("2026-11-21T13:01:00Z")));
}

#[test]
fn a_clock_that_was_put_back_fires_nothing_again() {
    let mut record = record("* * * * *", "UTC", at("2026-11-21T12:00:00Z"));
    let ahead = record.firings(at("2026-11-21T12:03:00Z"), GRACE);
    record.advance(&ahead, None);
    let behind = record.firings(at("2026-11-21T12:02:00Z"), GRACE);
    assert_eq!((behind.instants.len(), behind.missed_count), (0, 0));
    assert_eq!(behind.next, Some(at("2026-11-21T12:04:00Z")));
    assert_eq!(behind.through, ahead.through);
}

#[test]
fn a_decision_is_stale_after_a_leaders_lease() {
    let now = at("2026-11-21T12:00:00Z");
    let firings = record("* * * * *", "UTC", now).firings(now, GRACE);
    assert!(!firings.is_stale(now + Duration::from_secs(5), Duration::from_secs(5)));
    assert!(firings.is_stale(now + Duration::from_millis(5_001), Duration::from_secs(5)));
}

#[test]
fn an_instant_makes_the_templates_job_under_an_id_of_its_own() {
    let instant = at("2026-11-21T12:00:00Z");
    let now = at("2026-11-21T12:00:01Z");
    let mut record = record("* * * * *", "UTC", instant);
    let new = record.job(instant, now);
    let job = &new.job;
    assert_eq!(job.key.id, JobId::from_schedule(record.id, instant));
    assert_eq!((job.state, job.run_at, job.created_at), (State::Queued, Some(instant), now));
    assert_eq!((job.queue.as_str(), job.priority, job.max_attempts, job.timeout_ms), ("mail", Priority::High, 7, 5));
    assert_eq!((job.backoff, job.tags.clone()), (Backoff::None {}, vec!["a".into(), "schedule:nightly".into()]));
    assert_eq!(job.gates, None);
    for overlap in [Overlap::Skip, Overlap::Replace] {
        record.overlap = overlap;
        let gates = record.job(instant, now).job.gates.expect("gates");
        assert_eq!(gates.concurrency.expect("a limit").limit, 1);
    }
}

#[test]
fn an_instant_that_comes_too_soon_fires_is_skipped_or_replaces() {
    let mut record = record("* * * * *", "UTC", at("2026-11-21T12:00:00Z"));
    for (overlap, turn) in
        [(Overlap::Allow, Turn::Fire), (Overlap::Skip, Turn::Skip), (Overlap::Replace, Turn::Replace)]
    {
        record.overlap = overlap;
        assert_eq!(record.turn(None), Turn::Fire);
        assert_eq!(record.turn(Some(State::Running)), turn);
        assert_eq!(record.turn(Some(State::Scheduled)), turn);
        assert_eq!(record.turn(Some(State::Failed)), Turn::Fire);
    }
}

#[test]
fn a_record_is_read_as_it_was_written_and_not_from_a_newer_build() {
    let record = record("30 2 * * MON-FRI", "Europe/Berlin", at("2026-11-21T12:00:00Z"));
    let stored = serde_json::to_value(&record).expect("json");
    assert_eq!(serde_json::from_value::<ScheduleRecord>(stored.clone()).expect("a record"), record);
    assert_eq!((stored["v"].as_u64(), stored["cron"].as_str()), (Some(1), Some("30 2 * * MON-FRI")));
    for (field, value) in
        [("v", 2.into()), ("cron", "0 0 30 2 *".into()), ("time_zone", "Mars/Olympus".into()), ("new", 1.into())]
    {
        let mut other = stored.clone();
        other[field] = value;
        assert!(serde_json::from_value::<ScheduleRecord>(other).is_err(), "{field}");
    }
}

#[test]
fn a_schedule_sent_anew_goes_on_if_its_times_are_the_same() {
    let (begun, now) = (at("2026-11-21T12:00:00Z"), at("2026-11-21T12:05:00Z"));
    let mut old = record("* * * * *", "UTC", begun);
    old.last_job = Some(JobId::from_schedule(old.id, begun));
    let new = |pattern| ScheduleRecord { id: ScheduleId::from_bytes([2; 16]), ..record(pattern, "UTC", now) };
    let same = old.replaced_by(new("* * * * *"));
    assert_eq!((same.id, same.fired_through, same.created_at, same.updated_at), (old.id, begun, begun, now));
    assert_eq!(same.last_job, old.last_job);
    assert_eq!(old.replaced_by(new("0 * * * *")).fired_through, now);
}
