//! What the service takes on at once. What is over it is turned away before it is read: whoever waited would hold
//! memory while he waits.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::{Counter, counter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{ApiError, Code};

/// How often the log says that requests are turned away.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What all serving threads together take on.
pub(crate) struct Load {
    requests: Kind,
    /// In bytes.
    bodies: Kind,
}

/// One thing that there is only so much of.
struct Kind {
    room: Arc<Semaphore>,
    all: usize,
    shed: Counter,
    /// Turned away since the log said so.
    unsaid: AtomicU64,
    said: Mutex<Option<Instant>>,
    /// For the log.
    what: &'static str,
}

/// Room that was taken, until it is dropped.
pub(crate) type Room = OwnedSemaphorePermit;

impl Load {
    /// So many requests, and so many bytes of bodies.
    pub(crate) fn new(requests: usize, bytes: usize) -> Self {
        Self {
            requests: Kind::new(requests, "in_flight", "too many are in flight"),
            bodies: Kind::new(bytes, "body_memory", "their bodies have no room in memory"),
        }
    }

    /// Room for a request that changes something.
    pub(crate) fn admit(&self) -> Result<Room, ApiError> {
        self.requests.take(1).ok_or_else(|| turned_away("As many requests as can be are being worked on."))
    }

    /// Room for so many bytes of a body, and for one that is larger than all room there is, all of it.
    pub(crate) fn room_for(&self, bytes: usize) -> Result<Room, ApiError> {
        self.bodies.take(bytes).ok_or_else(|| turned_away("There is no room in memory for the body just now."))
    }
}

impl Kind {
    fn new(all: usize, reason: &'static str, what: &'static str) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(all)),
            all,
            shed: counter!("gristmill_requests_shed_total", "reason" => reason),
            unsaid: AtomicU64::new(0),
            said: Mutex::new(None),
            what,
        }
    }

    fn take(&self, number: usize) -> Option<Room> {
        let number = u32::try_from(number.min(self.all)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(number).ok();
        if room.is_none() {
            self.shed.increment(1);
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            self.say();
        }
        room
    }

    /// A line for each would be more work than what was turned away.
    fn say(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            *said = Some(Instant::now());
            let number = self.unsaid.swap(0, Ordering::Relaxed);
            tracing::warn!(http.turned_away = number, "requests are turned away: {}", self.what);
        }
    }
}

fn turned_away(detail: &'static str) -> ApiError {
    ApiError::new(Code::Overloaded, detail)
}
