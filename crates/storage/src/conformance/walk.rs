//! Random walks through a job's life, beside a job in memory that `Change::apply` changes.

use std::{sync::Arc, time::Duration};

use gristmill_common::{
    Body, JobId, LeaseId, Part, State, Timestamp, WorkerId,
    job::{Backoff, Change, Failure, IllegalTransition, Job, Limits, Progress},
};

use super::{Backend, at, claim_of, get, insert, job, text};
use crate::{Claim, Store, Whom};

/// Steps in one walk; several histories' worth.
const STEPS: usize = 250;

/// Something that may happen to a job, decided from a reading of it; refused if its state does not allow it.
pub(super) fn random_event(random: &mut fastrand::Rng, job: &Job, now: Timestamp) -> Result<Change, IllegalTransition> {
    let limits = Limits::default();
    let failure = |retryable| Failure {
        code: "boom".into(),
        message: "it broke: ☠".into(),
        retryable,
        min_delay: Duration::from_millis(20),
    };
    match random.u8(0..15) {
        0 => job.due(now),
        1 => job.ring(now),
        2 => job.postpone(now),
        3 | 4 => job.claim(LeaseId::fresh(), WorkerId::fresh(), now, now + Duration::from_secs(10)),
        5 => job.report(Progress { percent: random.u8(0..=100), message: random.bool().then(|| "…".into()) }),
        6 => job.succeed(text("{\"done\":true}"), now, &limits),
        7 => job.fail(&failure(random.bool()), now, &limits, random.f64()),
        8 => job.release(now, &limits),
        9 => job.rescue(now, &limits),
        10 => job.cancel(now, &limits),
        11 => job.expire(now, &limits),
        12 => job.park(now, now + Duration::from_millis(15)),
        13 => job.put_off(text(&random.u32(..).to_string()), now + Duration::from_millis(15)),
        _ => job.run_again(now, 2),
    }
}

/// Whatever happens to a job, and however stale the reading was that it was decided from, the store does what
/// [`Change::apply`] does.
pub async fn changes_are_carried_out_as_the_job_says(backend: &dyn Backend) {
    let store = backend.open().await;
    for seed in 0..8 {
        walk(&store, &mut fastrand::Rng::with_seed(seed)).await;
    }
}

async fn walk(store: &Arc<dyn Store>, random: &mut fastrand::Rng) {
    let mut new = job(at(0));
    new.job.key.id = JobId::fresh();
    new.job.backoff = Backoff::Fixed { delay_ms: 5 };
    insert(store, [new.clone()]).await;
    let mut model = new.job.clone();
    let mut stale = model.clone();
    let (mut payload, mut result) = (new.payload, None::<Body>);
    for step in 0..STEPS {
        let now = at(step as u64 * 10);
        if random.u8(0..4) == 0 {
            stale = model.clone();
        }
        if model.state == State::Queued && random.bool() {
            claim_both(store, &mut model, random, now).await;
        } else {
            let read = if random.u8(0..4) == 0 { &stale } else { &model };
            let Ok(change) = random_event(random, read, now) else { continue };
            let answer = store.apply(vec![change.clone()]).await.expect("an answer").remove(0);
            let sent = (change.payload.clone(), change.result.clone());
            if change.apply(&mut model) {
                (payload, result) = (sent.0.unwrap_or(payload), sent.1.or(result));
                assert_eq!(answer.as_ref(), Some(&model), "step {step}");
            } else {
                assert_eq!(answer, None, "step {step}");
            }
        }
        let found = store.get(&model.key).await.expect("an answer").expect("it is there");
        assert_eq!((&found.job, &found.result), (&model, &result), "step {step}");
        let stored = store.body(&model.key, Part::Payload).await.expect("an answer");
        assert_eq!(stored.as_ref(), Some(&payload), "step {step}");
    }
}

/// A claim by the store's own call changes a job as its decision says.
async fn claim_both(store: &Arc<dyn Store>, model: &mut Job, random: &mut fastrand::Rng, now: Timestamp) {
    let whom = if random.bool() { Whom::Any } else { Whom::NeverRescued };
    let claim = Claim { whom, ..claim_of(std::slice::from_ref(&model.key), now) };
    let decided = model.claim(claim.lease, claim.worker, claim.now, claim.until).expect("it is queued");
    let claimed = store.claim(claim).await.expect("an answer");
    if whom == Whom::NeverRescued && model.rescues > 0 {
        assert!(claimed.is_empty());
        return;
    }
    assert!(decided.apply(model), "nobody was in between");
    assert_eq!(claimed.iter().map(|claimed| &claimed.job).collect::<Vec<_>>(), [&*model]);
    assert_eq!(get(store, &model.key).await, *model);
}
