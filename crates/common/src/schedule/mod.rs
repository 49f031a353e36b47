//! Schedules: jobs that are made again and again, at the times that a cron pattern names in a time zone.
//!
//! Everything here decides, and touches neither the clock nor a store. Two processes that read one record agree
//! on every instant and on the id of the job that it makes.

mod cron;
mod fire;
mod record;
mod zone;

pub use cron::{Cron, InvalidCron, MAX_CRON};
pub use fire::{CATCH_UP, Firings, MOST_COUNTED, Turn};
pub use record::{JobTemplate, Missed, Overlap, ScheduleName, ScheduleRecord, TAG_PREFIX};
pub use zone::{InvalidTimeZone, TimeZone};
