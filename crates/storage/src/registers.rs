//! What a backend offers for the small records that several processes change at once.

use async_trait::async_trait;
use gristmill_common::{Tenant, Timestamp};
use serde_json::Value;

use crate::StoreError;

/// Registers: each a small value under a key, changed by comparing its version. Unlike records there may be any number
/// of them, and they are never read whole. Every call is one round trip, however many registers it is about.
///
/// A value names whoever wrote it where that matters, a job or a lease: after an answer that leaves a swap open, reading
/// the register tells.
#[async_trait]
pub trait RegisterStore: Send + Sync + 'static {
    /// These registers, in the order of their keys as given; `None` for one that is not there. What is told is durable.
    ///
    /// # Errors
    /// The store could not be read. A register that a newer build has written makes it
    /// [`StoreError::Unavailable`]: it must not be taken for one that is not there.
    async fn registers(&self, keys: &[RegisterKey]) -> Result<Vec<Option<Register>>, StoreError>;

    /// Carries out swaps, each on its own; says for each, in the order given, whether the register was as expected.
    /// Exactly one of any number of racing swaps that expect the same is made. A call has a register once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which swaps were made: read again.
    async fn swap(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, StoreError>;

    /// Registers of every space and tenant whose `due_at` has passed, the longest ago first, after this entry of the
    /// index if one is given: one bounded range of one index.
    ///
    /// # Errors
    /// The store could not be read.
    async fn due_registers(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, RegisterKey)>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError>;

    /// Registers of a space, of one tenant if one is named, by name. Those of several tenants are in an order of the
    /// store's own, which a page goes on with after this key.
    ///
    /// # Errors
    /// The store could not be read.
    async fn list_registers(
        &self,
        space: Space,
        tenant: Option<&Tenant>,
        after: Option<&RegisterKey>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError>;
}

/// What a register is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Which job holds a unique key.
    Unique,
    /// Which job is put off by submissions of a key.
    Debounce,
    /// Which jobs of a concurrency key run.
    Slots,
    /// How far the rate limit of a key is used up.
    Rate,
    /// How far the rate limit of a queue is used up. The tenant is the default one, the name the queue's.
    QueueRate,
    /// A schedule, and how far it has fired.
    Schedule,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 6] = [Self::Unique, Self::Debounce, Self::Slots, Self::Rate, Self::QueueRate, Self::Schedule];

    /// The word in the stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::Debounce => "debounce",
            Self::Slots => "slots",
            Self::Rate => "rate",
            Self::QueueRate => "queue_rate",
            Self::Schedule => "schedule",
        }
    }
}

/// The primary key of a register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterKey {
    /// What it is for.
    pub space: Space,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which one: any text that is not empty. People choose it, and it has some hundred bytes at most.
    pub name: String,
}

/// A register.
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// Which.
    pub key: RegisterKey,
    /// Another number after every change. One that was removed and made again begins with a number drawn by lot: a swap
    /// that was decided before is refused.
    pub version: u64,
    /// When a duty must look at it; `None` for never.
    pub due_at: Option<Timestamp>,
    /// What it says.
    pub value: Value,
}

/// A change of a register, if it is as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Swap {
    /// Which.
    pub key: RegisterKey,
    /// As what it was read.
    pub expect: Expect,
    /// The value and the `due_at` that it then has; `None` removes it. Nothing can be removed that is expected to be
    /// absent: such a swap is refused.
    pub to: Option<(Value, Option<Timestamp>)>,
}

/// How a register must be for a swap to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// At this version.
    Version(u64),
}

impl RegisterKey {
    /// The key as the stores have it: `space/tenant/name`. Only a name may hold a slash.
    pub(crate) fn to_text(&self) -> String {
        format!("{}/{}/{}", self.space.as_str(), self.tenant, self.name)
    }

    /// Reads what [`RegisterKey::to_text`] wrote.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let word = parts.next()?;
        let space = Space::ALL.into_iter().find(|space| space.as_str() == word)?;
        Some(Self { space, tenant: parts.next()?.parse().ok()?, name: parts.next()?.to_owned() })
    }

    /// The range of texts, both ends left out, of a space's keys, or of a tenant's in it. `0` comes right after the
    /// slash.
    pub(crate) fn range(space: Space, tenant: Option<&Tenant>) -> (String, String) {
        let within = match tenant {
            Some(tenant) => format!("{}/{tenant}", space.as_str()),
            None => space.as_str().to_owned(),
        };
        (format!("{within}/"), format!("{within}0"))
    }
}

/// The first version of a register, drawn by lot so that no two registers that had one key one after the other are
/// taken for each other. It is small enough to be counted up, and for every reader of JSON.
pub(crate) fn first_version() -> u64 {
    fastrand::u64(1..1 << 52)
}
