use std::collections::BTreeSet;

use super::*;

const API_MD: &str = include_str!("../../../../API.md");

fn row(code: Code) -> String {
    format!("| `{}` | {} | {} |", code.word(), code.status(), code.title())
}

#[test]
fn the_page_has_the_catalogue_and_nothing_else() {
    let table = API_MD.split("## Errors").nth(1).expect("a chapter on errors");
    let rows: Vec<String> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').take(4).collect::<Vec<_>>().join("|") + "|")
        .collect();
    assert_eq!(rows, Code::ALL.map(row));
}

#[test]
fn every_code_is_a_word_of_its_own_and_an_error() {
    let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(words.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!(code.word().bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert!((400..600).contains(&code.status()));
        assert_eq!(code.retry_after().is_some(), code.status() == 503, "{}", code.word());
    }
}

#[test]
fn every_failure_of_the_engine_has_its_code() {
    use gristmill_common::State;
    let lost = || std::io::Error::other("secret detail");
    let name = |name: &str| name.parse().expect("a name");
    for (error, code) in [
        (EngineError::Invalid(vec![FieldError::new("/tags", "x")]), Code::InvalidJob),
        (EngineError::InvalidSchedule(vec![FieldError::new("/cron", "x")]), Code::InvalidSchedule),
        (EngineError::InvalidReplay(vec![FieldError::new("/limit", "x")]), Code::InvalidReplay),
        (EngineError::InvalidQueue(vec![FieldError::new("/rate_limit/limit", "x")]), Code::InvalidQueue),
        (EngineError::UniqueConflict(None), Code::UniqueConflict),
        (EngineError::Overtaken { gate: "debounce" }, Code::SubmissionOvertaken),
        (EngineError::JustFired, Code::JobJustFired),
        (EngineError::NoSuchSchedule, Code::ScheduleNotFound),
        (EngineError::UnknownJobType("x".into()), Code::UnknownJobType),
        (EngineError::UnknownQueue("x".into()), Code::UnknownQueue),
        (EngineError::TextNotAccepted(name("x")), Code::TextNotAccepted),
        (EngineError::InvalidUtf8 { offset: 7 }, Code::InvalidUtf8),
        (EngineError::TextTooLarge { limit: 7 }, Code::PayloadTooLarge),
        (EngineError::TextBrokeOff, Code::BodyIncomplete),
        (EngineError::IdempotencyKeyReused, Code::IdempotencyKeyReused),
        (EngineError::NoSuchJob, Code::JobNotFound),
        (EngineError::NoSuchQueue, Code::QueueNotFound),
        (EngineError::NoResult(State::Running), Code::JobNotFinished),
        (EngineError::NoResult(State::Failed), Code::JobHasNoResult),
        (EngineError::Conflict { state: State::Succeeded, action: "cancelled" }, Code::JobAlreadyFinished),
        (EngineError::Conflict { state: State::Succeeded, action: "retried" }, Code::JobNotRetryable),
        (EngineError::Conflict { state: State::Running, action: "deleted" }, Code::JobNotFinished),
        (EngineError::BadCursor, Code::InvalidQuery),
        (StoreError::unavailable(lost()).into(), Code::StoreUnavailable),
        (StoreError::out_of_space(lost()).into(), Code::OutOfSpace),
        (StoreError::Overloaded.into(), Code::Overloaded),
        (StoreError::Corrupt("secret detail".into()).into(), Code::InternalError),
        (StoreError::InUse("secret detail".into()).into(), Code::InternalError),
    ] {
        let error = ApiError::from(error);
        assert_eq!(error.code(), code);
        let problem = error.problem("r");
        assert!(problem.detail.ends_with('.') && !problem.detail.contains("secret"), "{problem:?}");
    }
}

#[test]
fn fields_of_a_text_submission_are_named_in_the_query() {
    let error = ApiError::with_errors(Code::InvalidJob, vec![FieldError::new("/delay_ms", "is bad")]).in_query();
    assert_eq!(error.problem("r").errors[0].pointer, "?delay_ms");
    assert_eq!(error.problem("r").detail, "?delay_ms: is bad.");
}
