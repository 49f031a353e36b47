//! Schedules are changed by several people at once, while they fire.

mod support;

use gristmill_common::{Tenant, http::ScheduleRequest, schedule::ScheduleName};
use gristmill_engine::{EngineError, Put, ScheduleStatus};
use serde_json::json;
use support::Rig;

fn schedule(cron: &str) -> ScheduleRequest {
    let job = json!({"type": "sleep", "payload": {"ms": 0}});
    serde_json::from_value(json!({ "cron": cron, "job": job })).expect("a schedule")
}

fn name(text: &str) -> ScheduleName {
    text.parse().expect("a name")
}

fn status(put: Put) -> ScheduleStatus {
    match put {
        Put::Created(status) | Put::Replaced(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_at_the_same_time_none_is_lost() {
    const ROUNDS: usize = 30;
    let rig = Rig::new().await;
    rig.schedule();
    let (tenant, name) = (Tenant::default(), name("busy"));
    rig.engine.put_schedule(&tenant, &name, schedule("* * * * * *")).await.expect("made");
    let puts = async {
        for _ in 0..ROUNDS {
            rig.engine.put_schedule(&tenant, &name, schedule("*/2 * * * * *")).await.expect("changed");
        }
    };
    let pauses = async {
        for _ in 0..ROUNDS {
            rig.engine.resume_schedule(&tenant, &name).await.expect("resumed");
            rig.engine.pause_schedule(&tenant, &name).await.expect("paused");
        }
    };
    tokio::join!(puts, pauses);
    let there = rig.engine.schedule(&tenant, &name).await.expect("a schedule");
    assert!(there.record.paused && there.next.is_empty(), "{there:?}");
    assert_eq!(there.record.cron.as_str(), "*/2 * * * * *");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_made_again_is_another_and_one_that_is_changed_is_not() {
    let rig = Rig::new().await;
    let (tenant, name) = (Tenant::default(), name("nightly"));
    let put = async |cron: &str| rig.engine.put_schedule(&tenant, &name, schedule(cron)).await.expect("put");
    let made = put("0 0 * * *").await;
    assert!(matches!(made, Put::Created(_)));
    let made = status(made).record;
    let again = put("0 0 * * *").await;
    assert!(matches!(again, Put::Replaced(_)));
    let again = status(again).record;
    assert_eq!((again.id, again.fired_through), (made.id, made.fired_through), "nothing is missed by it");
    rig.clock.shift(1_000);
    let changed = status(put("0 1 * * *").await).record;
    assert_eq!(changed.id, made.id);
    assert!(changed.fired_through > made.fired_through, "other times count from now on");
    rig.engine.delete_schedule(&tenant, &name).await.expect("gone");
    let gone = rig.engine.delete_schedule(&tenant, &name).await;
    assert!(matches!(gone, Err(EngineError::NoSuchSchedule)), "{gone:?}");
    let anew = put("0 0 * * *").await;
    assert!(matches!(anew, Put::Created(_)));
    assert_ne!(status(anew).record.id, made.id);
    let other = "other".parse().expect("a tenant");
    assert!(matches!(rig.engine.schedule(&other, &name).await, Err(EngineError::NoSuchSchedule)));
}
