use proptest::prelude::*;

use super::*;

const RULE: Rule = Rule { failures: 3, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(4) };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Makes a call that ends at once.
fn call(breaker: &mut Breaker, outcome: Outcome, now: Instant) {
    let permit = breaker.admit(now).expect("admitted");
    breaker.hear(permit, outcome, now);
}

fn open(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(RULE);
    (0..RULE.failures).for_each(|_| call(&mut breaker, Outcome::Failed, now));
    assert_eq!(breaker.reading(), Reading { state: State::Open, opened: 1 });
    breaker
}

#[test]
fn failures_open_it_when_nothing_works_between() {
    let (mut breaker, now) = (Breaker::new(RULE), Instant::now());
    for _ in 0..10 {
        call(&mut breaker, Outcome::Failed, now);
        call(&mut breaker, Outcome::Failed, now);
        call(&mut breaker, Outcome::Unknown, now);
        call(&mut breaker, Outcome::Answered, now);
    }
    assert_eq!(breaker.reading(), Reading::default());
    (0..3).for_each(|_| call(&mut breaker, Outcome::Failed, now));
    assert_eq!(breaker.reading(), Reading { state: State::Open, opened: 1 });
    assert_eq!(breaker.admit(now + Duration::from_millis(300)).expect_err("open").wait, Duration::from_millis(700));
}

#[test]
fn one_call_tries_and_closes_it() {
    let start = Instant::now();
    let mut breaker = open(start);
    let now = start + seconds(1);
    let trial = breaker.admit(now).expect("it is time");
    assert_eq!(breaker.reading().state, State::HalfOpen);
    assert!(breaker.admit(now).is_err(), "one at a time");
    breaker.hear(trial, Outcome::Answered, now);
    assert_eq!(breaker.reading(), Reading { state: State::Closed, opened: 1 });
    call(&mut breaker, Outcome::Failed, now);
    assert_eq!(breaker.reading().state, State::Closed, "it begins anew");
}

#[test]
fn the_wait_doubles_to_its_longest() {
    let mut now = Instant::now();
    let mut breaker = open(now);
    for wait in [1, 2, 4, 4, 4] {
        let refused = breaker.admit(now).expect_err("open");
        assert_eq!(refused.wait, seconds(wait));
        now += refused.wait;
        call(&mut breaker, Outcome::Failed, now);
    }
    assert_eq!(breaker.reading().opened, 1, "it was open all the time");
}

#[test]
fn what_was_begun_before_counts_for_nothing() {
    let start = Instant::now();
    let mut breaker = Breaker::new(RULE);
    let slow = [breaker.admit(start), breaker.admit(start)].map(|permit| permit.expect("closed"));
    (0..3).for_each(|_| call(&mut breaker, Outcome::Failed, start));
    let [first, second] = slow;
    breaker.hear(first, Outcome::Answered, start);
    assert_eq!(breaker.reading().state, State::Open);
    let trial = breaker.admit(start + seconds(1)).expect("it is time");
    breaker.hear(second, Outcome::Failed, start + seconds(1));
    assert_eq!(breaker.reading().state, State::HalfOpen);
    breaker.hear(trial, Outcome::Answered, start + seconds(1));
    assert_eq!(breaker.reading().state, State::Closed);
}

#[test]
fn a_trial_that_is_broken_off_or_never_heard_of_is_not_the_last() {
    let start = Instant::now();
    let mut breaker = open(start);
    let trial = breaker.admit(start + seconds(1)).expect("it is time");
    breaker.hear(trial, Outcome::Unknown, start + seconds(1));
    assert_eq!(breaker.reading().state, State::Open);
    let lost = breaker.admit(start + seconds(1)).expect("the next may try");
    assert_eq!(breaker.admit(start + seconds(2)).expect_err("it tries").wait, seconds(3));
    let trial = breaker.admit(start + seconds(5)).expect("it was given up");
    breaker.hear(lost, Outcome::Failed, start + seconds(5));
    breaker.hear(trial, Outcome::Answered, start + seconds(5));
    assert_eq!(breaker.reading().state, State::Closed);
}

#[test]
fn it_is_closed_by_somebody_who_knows_better() {
    let now = Instant::now();
    let mut breaker = open(now);
    breaker.close();
    call(&mut breaker, Outcome::Answered, now);
    assert_eq!(breaker.reading(), Reading { state: State::Closed, opened: 1 });
}

#[test]
fn each_name_has_its_own_and_there_are_not_too_many() {
    let (mut breakers, start) = (Breakers::new(RULE, 256), Instant::now());
    let fail = |breakers: &mut Breakers, name: &str, now| {
        let permit = breakers.admit(name, now).expect("closed");
        breakers.hear(name, permit, Outcome::Failed, now);
    };
    (0..3).for_each(|_| fail(&mut breakers, "bad", start));
    assert!(breakers.admit("bad", start).is_err());
    for n in 0..10_000 {
        // Whoever is asked for again and again is not forgotten.
        assert!(breakers.admit("bad", start + Duration::from_micros(n)).is_err(), "{n}");
        fail(&mut breakers, &format!("host-{n}"), start + Duration::from_micros(n));
    }
    assert_eq!(breakers.len(), 256);
}

#[test]
fn its_words_and_numbers_are_told() {
    let words: Vec<String> = [State::Closed, State::Open, State::HalfOpen]
        .map(|state| format!("{} {}", state.number(), serde_json::to_string(&state).expect("JSON")))
        .into();
    assert_eq!(words, ["0 \"closed\"", "1 \"open\"", "2 \"half_open\""]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Ask,
    /// The call that was begun this many calls ago ends.
    End(usize, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![Just(Outcome::Answered), Just(Outcome::Failed), Just(Outcome::Unknown)];
    let step = prop_oneof![
        (0_u64..3_000).prop_map(Step::Wait),
        Just(Step::Ask),
        (0_usize..4, outcome).prop_map(|(place, outcome)| Step::End(place, outcome)),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn whatever_happens_it_refuses_for_a_bounded_time_and_tries_with_one_call(steps in steps()) {
        let (mut breaker, mut now) = (Breaker::new(RULE), Instant::now());
        let mut under_way = Vec::new();
        for step in steps {
            let before = breaker.reading();
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Ask => match breaker.admit(now) {
                    Ok(permit) => {
                        let after = breaker.reading().state;
                        prop_assert_eq!(after == State::Closed, before.state == State::Closed);
                        if after == State::HalfOpen {
                            prop_assert!(breaker.admit(now).is_err(), "one at a time");
                        }
                        under_way.push(permit);
                    }
                    Err(refused) => {
                        prop_assert_ne!(before.state, State::Closed);
                        prop_assert!(refused.wait > Duration::ZERO && refused.wait <= RULE.longest_wait);
                        prop_assert!(breaker.clone().admit(now + refused.wait).is_ok(), "it keeps its word");
                    }
                },
                Step::End(place, outcome) if place < under_way.len() => {
                    breaker.hear(under_way.remove(place), outcome, now);
                    let after = breaker.reading();
                    prop_assert!(after.state == before.state || outcome != Outcome::Unknown || after.state == State::Open);
                    let has_opened = before.state == State::Closed && after.state == State::Open;
                    prop_assert_eq!(after.opened, before.opened + u64::from(has_opened));
                }
                Step::End(..) => {}
            }
        }
    }
}
