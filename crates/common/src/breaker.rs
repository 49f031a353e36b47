//! A circuit breaker: what fails again and again is left alone for a while, and then tried by one call, so that those
//! who need it hear at once that it is away, and it is not kept from getting up by all of them.
//! Source: Michael Nygard, "Release It!", chapter "Stability Patterns".

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How a breaker stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call is under way, to see whether it works again; the others are refused.
    HalfOpen,
}

/// What others see of a breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// How it stands.
    pub state: State,
    /// How often it has opened; a trial that failed opens it not anew.
    pub opened: u64,
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// So many failures in a row open it; at least 1.
    pub failures: u32,
    /// How long it is open at first; each trial that fails doubles that.
    pub first_wait: Duration,
    /// How long it is open at most. A trial of which nothing is heard for so long is given up.
    pub longest_wait: Duration,
}

/// A breaker. It keeps no time of its own: every call brings the present moment.
#[derive(Debug, Clone)]
pub struct Breaker {
    rule: Rule,
    phase: Phase,
    /// Counts the phases: what began in another tells nothing of this one.
    turn: u64,
    opened: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant, wait: Duration },
    HalfOpen { until: Instant, wait: Duration },
}

/// A call that may be made. Say what became of it.
#[derive(Debug)]
#[must_use = "say what became of the call"]
pub struct Permit {
    turn: u64,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, if only with a refusal of what was asked.
    Answered,
    /// It was not.
    Failed,
    /// It was broken off, and tells nothing.
    Unknown,
}

/// The call is not to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it failed again and again, and is left alone for {} ms more", .wait.as_millis())]
pub struct Refused {
    /// How long until it is tried again.
    pub wait: Duration,
}

impl State {
    /// As metrics have it: closed 0, open 1, half-open 2.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Open => 1,
            Self::HalfOpen => 2,
        }
    }
}

impl Default for Rule {
    /// Five failures in a row; a second, doubling to half a minute.
    fn default() -> Self {
        Self { failures: 5, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(30) }
    }
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { rule, phase: Phase::Closed { failures: 0 }, turn: 0, opened: 0 }
    }

    /// Asks whether a call may be made at `now`.
    ///
    /// # Errors
    /// It may not: it is open, or another call tries just now.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Refused> {
        match self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { until, .. } | Phase::HalfOpen { until, .. } if now < until => {
                return Err(Refused { wait: until - now });
            }
            Phase::Open { wait, .. } | Phase::HalfOpen { wait, .. } => {
                self.enter(Phase::HalfOpen { until: now + self.rule.longest_wait, wait });
            }
        }
        Ok(Permit { turn: self.turn })
    }

    /// Hears what became of a call, at `now`. A call that was begun before the breaker last changed counts for
    /// nothing.
    pub fn hear(&mut self, Permit { turn }: Permit, outcome: Outcome, now: Instant) {
        if turn != self.turn {
            return;
        }
        match (self.phase, outcome) {
            (Phase::Closed { failures: 0 }, Outcome::Answered) | (Phase::Closed { .. }, Outcome::Unknown) => {}
            (Phase::Closed { .. }, Outcome::Answered) => self.phase = Phase::Closed { failures: 0 },
            (Phase::Closed { failures }, Outcome::Failed) if failures + 1 < self.rule.failures => {
                self.phase = Phase::Closed { failures: failures + 1 };
            }
            (Phase::Closed { .. }, Outcome::Failed) => {
                self.opened += 1;
                let wait = self.rule.first_wait;
                self.enter(Phase::Open { until: now + wait, wait });
            }
            (Phase::HalfOpen { .. }, Outcome::Answered) => self.enter(Phase::Closed { failures: 0 }),
            (Phase::HalfOpen { wait, .. }, Outcome::Failed) => {
                let wait = wait.saturating_mul(2).min(self.rule.longest_wait);
                self.enter(Phase::Open { until: now + wait, wait });
            }
            // The next to ask is the next to try.
            (Phase::HalfOpen { wait, .. }, Outcome::Unknown) => self.enter(Phase::Open { until: now, wait }),
            // Nothing begins in this phase.
            (Phase::Open { .. }, _) => {}
        }
    }

    /// Closes it: somebody else has found that it works.
    pub fn close(&mut self) {
        self.enter(Phase::Closed { failures: 0 });
    }

    /// How it stands, for others to see.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let state = match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        };
        Reading { state, opened: self.opened }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.turn += 1;
    }
}

/// Breakers by name, such as the host that is called. Their number is bounded: who was not asked for the longest time
/// is forgotten for a newcomer.
#[derive(Debug)]
pub struct Breakers {
    rule: Rule,
    most: usize,
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    asked_at: Instant,
}

impl Breakers {
    /// None so far, and never more than `most`.
    #[must_use]
    pub fn new(rule: Rule, most: usize) -> Self {
        Self { rule, most, known: HashMap::new() }
    }

    /// Asks whether this one may be called at `now`.
    ///
    /// # Errors
    /// See [`Breaker::admit`].
    pub fn admit(&mut self, name: &str, now: Instant) -> Result<Permit, Refused> {
        if let Some(known) = self.known.get_mut(name) {
            known.asked_at = now;
            return known.breaker.admit(now);
        }
        if self.known.len() >= self.most {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.asked_at).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.known.remove(&name));
        }
        let mut breaker = Breaker::new(self.rule);
        let permit = breaker.admit(now);
        self.known.insert(name.to_owned(), Known { breaker, asked_at: now });
        permit
    }

    /// Hears what became of a call. Of one that was forgotten meanwhile nothing is kept.
    pub fn hear(&mut self, name: &str, permit: Permit, outcome: Outcome, now: Instant) {
        if let Some(known) = self.known.get_mut(name) {
            known.breaker.hear(permit, outcome, now);
        }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests;
