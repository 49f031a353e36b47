//! How a worker works: what can be set.

use std::{str::FromStr, time::Duration};

use gristmill_common::{InvalidName, QueueName, job::Priority};
use serde::Deserialize;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// How many jobs it runs at once.
    pub concurrency: usize,
    /// How many threads run jobs of class `Cpu`, and how many processors one such job may use.
    pub cpu_threads: usize,
    /// The queues it takes from, each once; all declared ones when empty.
    pub queues: Vec<Subscription>,
    /// How often each band is served.
    pub weights: Weights,
    /// How long a lease holds without a heartbeat.
    pub lease: Duration,
    /// How often it renews its leases.
    pub heartbeat: Duration,
    /// How long it lets jobs finish when it is told to stop.
    pub drain: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            concurrency: 64,
            cpu_threads: std::thread::available_parallelism().map_or(1, usize::from),
            queues: Vec::new(),
            weights: Weights::default(),
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(3),
            drain: Duration::from_secs(8),
        }
    }
}

/// The most jobs of a queue that a subscription may allow.
const MOST_OF_A_QUEUE: usize = 100_000;
/// The largest weight of a band.
const HEAVIEST: u32 = 100;

/// A queue that a worker takes from. As text it is `mail`, or `mail=4`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Subscription {
    /// Which queue.
    pub queue: QueueName,
    /// How many of its jobs the worker holds at once, 1 to 100,000; as many as it runs in all, without a number.
    pub concurrency: Option<usize>,
}

impl Subscription {
    /// To a queue without a number of its own.
    #[must_use]
    pub fn to(queue: QueueName) -> Self {
        Self { queue, concurrency: None }
    }
}

/// The text is no subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubscription {
    /// Its first part is no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// What follows the `=` is no number, or not one that makes sense.
    #[error("after the `=` must be how many of the queue's jobs run at once, 1 to 100000, as in `mail=4`")]
    Concurrency,
}

impl FromStr for Subscription {
    type Err = InvalidSubscription;

    fn from_str(text: &str) -> Result<Self, InvalidSubscription> {
        let Some((queue, number)) = text.split_once('=') else { return Ok(Self::to(text.trim().parse()?)) };
        let number = number.trim().parse().ok().filter(|number| (1..=MOST_OF_A_QUEUE).contains(number));
        let concurrency = Some(number.ok_or(InvalidSubscription::Concurrency)?);
        Ok(Self { queue: queue.trim().parse()?, concurrency })
    }
}

impl TryFrom<String> for Subscription {
    type Error = InvalidSubscription;

    fn try_from(text: String) -> Result<Self, InvalidSubscription> {
        text.parse()
    }
}

/// How often each band is served among bands that all have work. As text it is `3:2:1`: high, normal, low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Weights([u32; 3]);

impl Default for Weights {
    fn default() -> Self {
        Self([3, 2, 1])
    }
}

impl Weights {
    /// The weight of a band, 1 to 100.
    #[must_use]
    pub fn of(self, priority: Priority) -> u32 {
        self.0[priority.band()]
    }
}

/// The text does not say three weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be three whole numbers, 1 to 100, for the bands high, normal and low, as in `3:2:1`")]
pub struct InvalidWeights;

impl FromStr for Weights {
    type Err = InvalidWeights;

    fn from_str(text: &str) -> Result<Self, InvalidWeights> {
        let mut weights = [0; 3];
        let mut words = text.split(':');
        for weight in &mut weights {
            let number = words.next().and_then(|word| word.trim().parse().ok());
            *weight = number.filter(|number| (1..=HEAVIEST).contains(number)).ok_or(InvalidWeights)?;
        }
        if words.next().is_some() { Err(InvalidWeights) } else { Ok(Self(weights)) }
    }
}

impl TryFrom<String> for Weights {
    type Error = InvalidWeights;

    fn try_from(text: String) -> Result<Self, InvalidWeights> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subscription_is_a_name_with_or_without_a_number() {
        let read = |text: &str| text.parse::<Subscription>().map(|read| (read.queue.to_string(), read.concurrency));
        assert_eq!(read("mail"), Ok(("mail".into(), None)));
        assert_eq!(read("mail=4"), Ok(("mail".into(), Some(4))));
        assert_eq!(read(" mail = 100000 "), Ok(("mail".into(), Some(100_000))));
        for bad in ["mail=", "mail=0", "mail=-1", "mail=100001", "mail=x", "mail=1=2", "mail=1.5"] {
            assert_eq!(read(bad), Err(InvalidSubscription::Concurrency), "{bad}");
        }
        for bad in ["", "=4", "a b=4", "Mail"] {
            assert!(matches!(read(bad), Err(InvalidSubscription::Name(_))), "{bad}");
        }
    }

    #[test]
    fn weights_are_three_small_numbers() {
        let weights: Weights = "100:1: 7".parse().expect("weights");
        assert_eq!(Priority::ALL.map(|priority| weights.of(priority)), [100, 1, 7]);
        for bad in ["", "3", "3:2", "3:2:1:1", "3:2:0", "3:2:101", "3:2:-1", "3:2:x", "3,2,1"] {
            assert_eq!(bad.parse::<Weights>(), Err(InvalidWeights), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (text.parse::<Subscription>(), text.parse::<Weights>());
        }
    }
}
