//! How many jobs there are.

use std::{collections::BTreeMap, sync::Arc};

use gristmill_common::{State, Tenant, job::JobKey};

use super::{Backend, at, job_of, walk::random_event};
use crate::{Inserted, JobFilter, ListQuery, Order, Removal, Store};

type Numbers = BTreeMap<(String, State), u64>;

/// After many changes of many jobs, some stored twice, some refused and some erased, the counts of every tenant,
/// and of all, are what the lists show.
pub async fn counts_match_the_lists_after_a_random_walk(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut random = fastrand::Rng::with_seed(7);
    let tenants = ["a", "b", "c"].map(|name| name.parse::<Tenant>().expect("a name"));
    let mut keys: Vec<JobKey> = Vec::new();
    for round in 0..40 {
        let mut batch: Vec<_> = (0..6).map(|n| job_of(tenants[n % 3].clone(), at(round))).collect();
        for new in &mut batch {
            new.job.queue = ["default", "books"][random.usize(0..2)].parse().expect("a name");
        }
        batch.push(batch[0].clone());
        keys.extend(batch.iter().map(|new| new.job.key.clone()));
        let outcomes = store.insert(batch).await.expect("outcomes");
        assert!(matches!(outcomes[6], Inserted::Exists(_)));
        step(&store, &keys, &mut random, round).await;
    }

    let mut all = Numbers::new();
    for tenant in &tenants {
        let listed = listed(&store, tenant).await;
        assert_eq!(counted(&store, Some(tenant)).await, listed, "tenant {tenant}");
        for (cell, count) in listed {
            *all.entry(cell).or_default() += count;
        }
    }
    assert!(all.len() >= 10, "the walk has been almost everywhere: {all:?}");
    assert_eq!(counted(&store, None).await, all);
    assert!(counted(&store, Some(&"nobody".parse().expect("a name"))).await.is_empty());
}

/// Changes several jobs at once, in calls that race, and erases one.
async fn step(store: &Arc<dyn Store>, keys: &[JobKey], random: &mut fastrand::Rng, round: u64) {
    let mut changes = Vec::new();
    for _ in 0..30 {
        let key = &keys[random.usize(0..keys.len())];
        let Some(found) = store.get(key).await.expect("an answer") else { continue };
        changes.extend(random_event(random, &found.job, at(1_000 + round)));
    }
    let calls = changes.chunks(3).map(|some| store.apply(some.to_vec()));
    for answer in futures::future::join_all(calls).await {
        answer.expect("an answer");
    }
    let key = &keys[random.usize(0..keys.len())];
    if let Some(found) = store.get(key).await.expect("an answer") {
        let removal = Removal { key: key.clone(), state: found.job.state, wake_at: found.job.wake_at };
        assert_eq!(store.remove(&[removal.clone(), removal]).await.expect("an answer"), [true, false]);
    }
}

async fn counted(store: &Arc<dyn Store>, tenant: Option<&Tenant>) -> Numbers {
    let cells = store.counts(tenant).await.expect("counts");
    let number = cells.len();
    let numbers: Numbers = cells
        .into_iter()
        .filter(|cell| cell.count > 0)
        .map(|cell| ((cell.queue.to_string(), cell.state), cell.count))
        .collect();
    assert!(numbers.len() <= number, "each queue and state is told once");
    numbers
}

async fn listed(store: &Arc<dyn Store>, tenant: &Tenant) -> Numbers {
    let query = ListQuery {
        tenant: tenant.clone(),
        filter: JobFilter::default(),
        order: Order::NewestFirst,
        after: None,
        limit: 10_000,
        scan_limit: 10_000,
    };
    let mut numbers = Numbers::new();
    for job in store.list(&query).await.expect("a page").jobs {
        *numbers.entry((job.queue.to_string(), job.state)).or_default() += 1;
    }
    numbers
}
