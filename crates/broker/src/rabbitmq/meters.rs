//! What can be counted here. The frames are AMQP methods as this side sees them: the library takes confirms of many
//! messages apart, so each message confirmed is one.

use std::time::Duration;

pub(super) fn sent(kind: &'static str, number: usize) {
    metrics::counter!("gristmill_broker_frames_total", "direction" => "sent", "kind" => kind).increment(number as u64);
}

pub(super) fn received(kind: &'static str, number: usize) {
    metrics::counter!("gristmill_broker_frames_total", "direction" => "received", "kind" => kind)
        .increment(number as u64);
}

/// How long a pipeline of publishes waited for its confirms.
pub(super) fn confirmed(after: Duration) {
    metrics::histogram!("gristmill_broker_confirm_seconds").record(after.as_secs_f64());
}

/// Dispatches that the broker does not have.
pub(super) fn refused(number: usize) {
    metrics::counter!("gristmill_broker_refused_total").increment(number as u64);
}

/// A message that is none of ours.
pub(super) fn malformed() {
    metrics::counter!("gristmill_broker_malformed_total").increment(1);
}

/// Events that found no room, or no broker.
pub(super) fn events_dropped(number: usize) {
    metrics::counter!("gristmill_broker_events_dropped_total").increment(number as u64);
}
