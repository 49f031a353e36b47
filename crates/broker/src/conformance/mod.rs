//! The suite that every broker passes. A backend's tests say how to open it and get one test for each check:
//!
//! ```text
//! gristmill_broker::conformance::suite!(MyBackend::new());
//! ```

mod build;

pub mod acks;
pub mod delivery;
pub mod depths;
pub mod events;
pub mod queues;
pub mod racing;
pub mod waiting;

use std::sync::Arc;

use async_trait::async_trait;

pub use build::{Bench, dispatch, number_of};

use crate::Broker;

/// A place for one broker.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens the broker. Other checks may use the same one at the same time: each declares a queue of its own.
    async fn open(&self) -> Arc<dyn Broker>;
}

/// Makes one `#[tokio::test]` of each check; the expression makes a [`Backend`] for one test.
#[macro_export]
macro_rules! conformance_suite {
    ($backend:expr) => {
        $crate::conformance_suite! { @tests $backend;
            queues: [
                a_queue_may_be_declared_twice,
                an_undeclared_queue_is_refused,
                bands_and_queues_are_separate,
                the_broker_answers,
            ]
            delivery: [
                dispatches_come_whole_and_in_order,
                no_more_come_at_once_than_were_asked_for,
                the_prefetch_bounds_what_is_not_acked,
                consumers_share_and_nothing_is_doubled,
                a_dropped_consumers_deliveries_come_again_in_order,
            ]
            acks: [
                an_ack_makes_room,
                many_are_acked_at_once,
                what_is_acked_never_comes_again,
            ]
            waiting: [
                a_waiting_consumer_wakes,
                a_dropped_consumer_wakes_another,
                a_cancelled_wait_loses_nothing,
                a_wake_up_is_never_lost_with_who_got_it,
            ]
            depths: [
                the_depth_counts_what_waits_for_a_consumer,
                a_purge_leaves_what_is_in_hand,
                a_full_band_refuses_and_takes_again,
            ]
            events: [
                every_listener_hears_every_event_in_order,
                a_listener_hears_nothing_from_before,
                a_slow_listener_is_told_that_it_missed_some,
            ]
            racing: [
                every_dispatch_of_64_publishers_reaches_one_of_8_consumers,
                no_dispatch_is_lost_while_consumers_come_and_go,
            ]
        }
    };
    (@tests $backend:expr; $($module:ident: [$($check:ident),* $(,)?])*) => {
        $(mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    $crate::conformance::$module::$check(&$backend).await;
                }
            )*
        })*
    };
}
#[doc(inline)]
pub use conformance_suite as suite;
