//! Which deliveries of a channel are settled, and the fewest acks that say so.

use std::collections::BTreeSet;

/// The broker numbers the deliveries of a channel from one. All below `settled_below` are settled, and so are those
/// in `settled`.
#[derive(Debug)]
pub(super) struct Ledger {
    settled_below: u64,
    settled: BTreeSet<u64>,
}

/// One ack on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// Of everything up to this delivery.
    Through(u64),
    /// Of this delivery alone.
    One(u64),
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { settled_below: 1, settled: BTreeSet::new() }
    }

    /// Notes that deliveries are settled by other means than an ack.
    pub(super) fn settle(&mut self, tag: u64) {
        self.settled.insert(tag);
        self.advance();
    }

    /// The acks of these deliveries: one for all of them that nothing unsettled comes before, and one for each
    /// of the rest. What is settled already needs none.
    pub(super) fn acks(&mut self, tags: &[u64]) -> Vec<Ack> {
        let mut fresh: BTreeSet<u64> =
            tags.iter().copied().filter(|tag| *tag >= self.settled_below && !self.settled.contains(tag)).collect();
        self.settled.extend(&fresh);
        self.advance();
        let rest = fresh.split_off(&self.settled_below);
        let through = fresh.last().map(|last| if fresh.len() > 1 { Ack::Through(*last) } else { Ack::One(*last) });
        through.into_iter().chain(rest.into_iter().map(Ack::One)).collect()
    }

    fn advance(&mut self) {
        while self.settled.remove(&self.settled_below) {
            self.settled_below += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_in_order_is_one_ack() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.acks(&[3, 1, 2]), [Ack::Through(3)]);
        assert_eq!(ledger.acks(&[4]), [Ack::One(4)]);
        assert_eq!(ledger.acks(&[4, 2]), []);
    }

    #[test]
    fn what_something_unsettled_comes_before_is_acked_alone() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.acks(&[2, 4]), [Ack::One(2), Ack::One(4)]);
        assert_eq!(ledger.acks(&[1, 3, 5]), [Ack::Through(5)]);
    }

    proptest! {
        /// A broker that applies the acks has settled what was meant to be, and nothing else; it never hears of a
        /// delivery twice, which it would answer by closing the channel.
        #[test]
        fn the_acks_mean_what_was_settled(
            order in Just((1..=60).collect::<Vec<u64>>()).prop_shuffle(),
            cuts in proptest::collection::vec(0..10_usize, 1..30),
            rejected in proptest::collection::btree_set(1..=60_u64, 0..5),
        ) {
            let mut ledger = Ledger::new();
            let mut outstanding: BTreeSet<u64> = (1..=80).collect();
            let mut meant: BTreeSet<u64> = BTreeSet::new();
            for tag in rejected {
                outstanding.remove(&tag);
                meant.insert(tag);
                ledger.settle(tag);
            }
            let mut order = order.as_slice();
            for cut in cuts {
                let (batch, rest) = order.split_at(cut.min(order.len()));
                order = rest;
                meant.extend(batch);
                for ack in ledger.acks(batch) {
                    match ack {
                        Ack::One(tag) => prop_assert!(outstanding.remove(&tag)),
                        Ack::Through(tag) => {
                            prop_assert!(outstanding.contains(&tag));
                            outstanding = outstanding.split_off(&(tag + 1));
                        }
                    }
                }
                let settled: BTreeSet<u64> = (1..=80).filter(|tag| !outstanding.contains(tag)).collect();
                prop_assert_eq!(&settled, &meant);
            }
        }
    }
}
