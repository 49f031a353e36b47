//! Schedules over the changes of clocks, and what is due at any moment.

mod by_the_rule;
mod clocks;
mod firings;

use std::time::Duration;

use gristmill_common::{
    ScheduleId, Tenant, Timestamp,
    job::{Backoff, Gates, Priority},
    schedule::{Cron, JobTemplate, Missed, Overlap, ScheduleRecord, TimeZone},
};

fn cron(pattern: &str) -> Cron {
    pattern.parse().unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    name.parse().expect("a time zone")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn record(pattern: &str, zone_name: &str, fired_through: Timestamp) -> ScheduleRecord {
    ScheduleRecord {
        v: Default::default(),
        id: ScheduleId::from_bytes([1; 16]),
        tenant: Tenant::default(),
        name: "nightly".parse().expect("a name"),
        cron: cron(pattern),
        time_zone: zone(zone_name),
        template: JobTemplate {
            job_type: "sleep".parse().expect("a name"),
            payload: r#"{"big": 12345678901234567890123}"#.into(),
            queue: "mail".parse().expect("a name"),
            priority: Priority::High,
            max_attempts: 7,
            backoff: Backoff::None {},
            timeout_ms: 5,
            tags: vec!["a".into()],
            gates: Gates::default(),
        },
        missed: Missed::FireAll,
        overlap: Overlap::Allow,
        paused: false,
        fired_through,
        last_job: None,
        created_at: fired_through,
        updated_at: fired_through,
    }
}

const GRACE: Duration = Duration::from_secs(10);
