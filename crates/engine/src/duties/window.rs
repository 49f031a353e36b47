//! The window: how many dispatches of one band may wait in the broker. It follows the pace of the workers, so that a
//! newcomer waits for a moment's work and not for a backlog.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gristmill_broker::MOST_READY;

/// The least that may wait in a band.
const LEAST: usize = 64;
/// The window is what was consumed in this time.
const TIME: Duration = Duration::from_millis(250);
/// What submitters ring for themselves is nobody's backlog while no more than this waits.
const BUSY: usize = 256;

/// What is known of a band's pace from one feeding to the next.
#[derive(Default)]
pub(super) struct Window {
    /// When how much was seen to have been consumed.
    consumed: VecDeque<(Instant, usize)>,
    /// What waited after the latest feeding.
    left: usize,
    /// Whether more waited in the store then than there was room for.
    more: bool,
    /// Twice the window at which workers were found with nothing to take.
    grown: usize,
    size: usize,
    ready: usize,
    /// Whether what waits has changed since the latest feeding.
    moves: bool,
}

impl Window {
    /// Notes how many wait now. What submitters publish themselves hides some of what was consumed; but they do so
    /// only while there is no backlog. Tenants who share a band have a smaller window, for each other's sake.
    pub(super) fn look(&mut self, ready: usize, lanes: usize, now: Instant) {
        self.consumed.push_back((now, self.left.saturating_sub(ready)));
        while self.consumed.front().is_some_and(|(at, _)| now - *at > TIME) {
            self.consumed.pop_front();
        }
        let consumed = self.consumed.iter().map(|(_, consumed)| consumed).sum::<usize>();
        let is_starved = ready == 0 && self.left > 0 && self.more;
        self.grown = if is_starved { 2 * self.size } else { self.grown / 2 };
        let size = consumed.max(self.grown).clamp(LEAST, MOST_READY);
        self.size = if lanes > 1 && !is_starved { size / 2 } else { size };
        self.moves = ready != self.left;
        (self.ready, self.left) = (ready, ready);
    }

    /// How many more may be dispatched.
    pub(super) fn room(&self) -> usize {
        self.size.saturating_sub(self.ready)
    }

    /// Notes how many were dispatched, and whether more wait in the store.
    pub(super) fn fed(&mut self, published: usize, more: bool) {
        self.left += published;
        self.more = more;
    }

    /// Whether submitters must leave their jobs to the leader: older ones wait in the store, or too many in the broker.
    pub(super) fn has_backlog(&self) -> bool {
        self.more || self.ready > self.size.max(BUSY)
    }

    /// Whether there is a backlog that somebody works at, or adds to.
    pub(super) fn is_busy(&self) -> bool {
        self.moves && self.has_backlog()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CYCLE: Duration = Duration::from_millis(25);

    /// Feeds a band from an endless backlog, of which so many are taken in each cycle; returns the window of each.
    fn sizes(takes: usize, lanes: usize, cycles: usize) -> Vec<usize> {
        let (mut window, mut ready, mut now, mut sizes) = (Window::default(), 0usize, Instant::now(), Vec::new());
        for _ in 0..cycles {
            window.look(ready, lanes, now);
            sizes.push(window.size);
            let room = window.room();
            window.fed(room, true);
            ready = (ready + room).saturating_sub(takes);
            now += CYCLE;
        }
        sizes
    }

    #[test]
    fn a_band_that_nobody_takes_from_holds_the_least() {
        assert!(sizes(0, 1, 100).iter().all(|&size| size == LEAST));
        assert!(sizes(0, 2, 100).iter().all(|&size| size <= LEAST));
    }

    #[test]
    fn the_window_is_what_is_taken_in_its_time() {
        for takes in [10, 100, 300] {
            let in_its_time = takes * (TIME.as_millis() / CYCLE.as_millis()) as usize;
            let size = *sizes(takes, 1, 100).last().expect("a window");
            assert!((in_its_time..=in_its_time + takes).contains(&size), "{takes}: {size}");
            assert!(*sizes(takes, 2, 100).last().expect("a window") <= in_its_time.div_ceil(2) + takes);
        }
    }

    #[test]
    fn the_window_grows_by_doubling_while_workers_find_nothing() {
        let sizes = sizes(5_000, 1, 10);
        assert!(sizes[7] >= 5_000, "{sizes:?}");
    }

    #[test]
    fn too_much_in_the_broker_is_a_backlog_too() {
        let (mut window, now) = (Window::default(), Instant::now());
        window.look(BUSY, 1, now);
        assert!(!window.has_backlog());
        window.look(BUSY + 1, 1, now + CYCLE);
        assert!(window.has_backlog() && window.is_busy());
        window.look(BUSY + 1, 1, now + 2 * CYCLE);
        assert!(window.has_backlog() && !window.is_busy());
        window.look(0, 1, now + 3 * CYCLE);
        assert!(!window.has_backlog());
    }
}
