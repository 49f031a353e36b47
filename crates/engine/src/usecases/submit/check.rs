//! What makes sense in a submission.

use std::time::Duration;

use gristmill_common::{
    Timestamp,
    http::{FieldError, JobRequest},
    schedule::TAG_PREFIX,
};

/// The most attempts that a submission may ask for.
const MOST_ATTEMPTS: u32 = 1_000;
/// The longest time that one attempt may take: a week.
const LONGEST_TIMEOUT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The longest delay: ten years.
const LONGEST_DELAY_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1_000;
/// How long ago a time may be that is meant to be now: the clocks of clients differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 64;

/// What is wrong with the fields of a request, but for its payload.
pub(super) fn check(request: &JobRequest, now: Timestamp, errors: &mut Vec<FieldError>) {
    let mut wrong = |pointer: &str, detail: &str| errors.push(FieldError::new(pointer, detail));
    if request.run_at.is_some() && request.delay_ms.is_some() {
        wrong("/delay_ms", "must not be sent together with run_at");
    }
    if request.delay_ms.is_some_and(|delay| delay > LONGEST_DELAY_MS) {
        wrong("/delay_ms", "must be at most ten years");
    }
    if request.run_at.is_some_and(|at| at.since(now).as_millis() > u128::from(LONGEST_DELAY_MS)) {
        wrong("/run_at", "must be at most ten years ahead");
    }
    if request.run_at.is_some_and(|at| now.since(at) > CLOCKS_DIFFER) {
        wrong("/run_at", "has passed");
    }
    if request.deadline.is_some_and(|deadline| deadline <= now) {
        wrong("/deadline", "has passed");
    }
    if request.max_attempts.is_some_and(|attempts| !(1..=MOST_ATTEMPTS).contains(&attempts)) {
        wrong("/max_attempts", "must be between 1 and 1000");
    }
    if request.timeout_ms.is_some_and(|timeout| !(1..=LONGEST_TIMEOUT_MS).contains(&timeout)) {
        wrong("/timeout_ms", "must be between 1 and a week");
    }
    if let Some(Err((field, detail))) = request.backoff.map(|backoff| backoff.check()) {
        wrong(&format!("/backoff/{field}"), detail);
    }
    let gates = request.gates();
    gates.check(|field, detail| wrong(&format!("/{field}"), detail));
    if gates.debounce.is_some() {
        if request.run_at.is_some() {
            wrong("/run_at", "must not be sent together with debounce");
        }
        if request.delay_ms.is_some() {
            wrong("/delay_ms", "must not be sent together with debounce");
        }
    }
    if request.tags.len() > MOST_TAGS {
        wrong("/tags", "must be at most 16");
    }
    for (place, tag) in request.tags.iter().enumerate() {
        if !(1..=LONGEST_TAG).contains(&tag.len()) || tag.chars().any(char::is_control) {
            wrong(&format!("/tags/{place}"), "must be 1 to 64 bytes without control characters");
        }
        if tag.starts_with(TAG_PREFIX) {
            wrong(&format!("/tags/{place}"), "begins as those that schedules give their jobs");
        }
    }
}
