//! Lists: filters, orders and pages.

use std::{collections::HashMap, sync::Arc};

use gristmill_common::{
    JobId, State, Tenant,
    job::{Job, NewJob, Priority},
};

use super::{Backend, at, insert, job, job_of};
use crate::{JobFilter, ListQuery, Order, Position, Store};

fn query(filter: JobFilter, order: Order, limit: usize) -> ListQuery {
    ListQuery { tenant: Tenant::default(), filter, order, after: None, limit, scan_limit: 10_000 }
}

/// Every page, one after the other.
async fn pages(store: &Arc<dyn Store>, mut query: ListQuery) -> Vec<Vec<Job>> {
    let mut pages = Vec::new();
    loop {
        let page = store.list(&query).await.expect("a page");
        assert!(page.jobs.len() <= query.limit, "a page holds at most its limit");
        pages.push(page.jobs);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return pages,
        }
    }
}

fn ids<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<JobId> {
    jobs.into_iter().map(|job| job.key.id).collect()
}

/// Sixty jobs that differ in everything that a filter asks about; several were accepted in one millisecond.
fn assorted() -> Vec<NewJob> {
    let mut jobs: Vec<NewJob> = (0..60_usize).map(|n| job(at(n as u64 / 3))).collect();
    for (n, new) in jobs.iter_mut().enumerate() {
        new.job.state = State::ALL[n % 6];
        new.job.job_type = ["sleep", "fail", "word_count"][n % 3].parse().expect("a name");
        new.job.queue = ["default", "books"][n / 2 % 2].parse().expect("a name");
        new.job.priority = Priority::ALL[n / 4 % 3];
        new.job.tags = (0..n % 4).map(|tag| format!("tag {tag}")).collect();
        if new.job.state == State::Failed {
            new.job.failed_at = Some(at(1_000 - n as u64 / 12));
        }
    }
    jobs
}

/// Each filter, and all of them together, shows exactly the jobs that a look at each would choose.
pub async fn every_filter_filters(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs = assorted();
    insert(&store, jobs.clone()).await;
    let any = JobFilter::default;
    let filters = [
        any(),
        JobFilter { states: vec![State::Queued, State::Failed], ..any() },
        JobFilter { job_type: Some("fail".parse().expect("a name")), ..any() },
        JobFilter { queue: Some("books".parse().expect("a name")), ..any() },
        JobFilter { priority: Some(Priority::Low), ..any() },
        JobFilter { tag: Some("tag 1".into()), ..any() },
        JobFilter { tag: Some("tag".into()), ..any() },
        JobFilter { from: Some(at(5)), ..any() },
        JobFilter { before: Some(at(5)), ..any() },
        JobFilter { from: Some(at(5)), before: Some(at(5)), ..any() },
        JobFilter {
            states: vec![State::Scheduled, State::Running],
            job_type: Some("word_count".parse().expect("a name")),
            queue: Some("books".parse().expect("a name")),
            priority: Some(Priority::Normal),
            tag: Some("tag 0".into()),
            from: Some(at(1)),
            before: Some(at(19)),
        },
    ];
    for filter in filters {
        let chosen = |job: &Job| {
            (filter.states.is_empty() || filter.states.contains(&job.state))
                && filter.job_type.as_ref().is_none_or(|wanted| *wanted == job.job_type)
                && filter.queue.as_ref().is_none_or(|wanted| *wanted == job.queue)
                && filter.priority.is_none_or(|wanted| wanted == job.priority)
                && filter.tag.as_ref().is_none_or(|wanted| job.tags.contains(wanted))
                && filter.from.is_none_or(|from| job.created_at >= from)
                && filter.before.is_none_or(|before| job.created_at < before)
        };
        let mut expected: Vec<Job> = jobs.iter().map(|new| new.job.clone()).filter(|job| chosen(job)).collect();
        expected.sort_by_key(|job| (job.created_at, job.key.id));
        let found = pages(&store, query(filter.clone(), Order::OldestFirst, 7)).await.concat();
        assert_eq!(found, expected, "{filter:?}");
    }
}

/// Pages of any size, put together, are the whole list in its order, even where many jobs have one time.
pub async fn pages_follow_each_order(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs = assorted();
    insert(&store, jobs.clone()).await;
    let mut expected: Vec<&Job> = jobs.iter().map(|new| &new.job).collect();
    expected.sort_by_key(|job| (job.created_at, job.key.id));
    for limit in [1, 7, 60, 100] {
        let found = pages(&store, query(JobFilter::default(), Order::OldestFirst, limit)).await;
        assert_eq!(ids(found.iter().flatten()), ids(expected.iter().copied()), "oldest first by {limit}");
        assert!(found.iter().rev().skip(1).all(|page| page.len() == limit), "only the last page is short");
        let found = pages(&store, query(JobFilter::default(), Order::NewestFirst, limit)).await.concat();
        assert_eq!(ids(&found), ids(expected.iter().rev().copied()), "newest first by {limit}");
    }
    // A place need not be the place of a job that is still there.
    let gone = Position { at: at(3), id: JobId::from_bytes([0; 16]) };
    let rest = ListQuery { after: Some(gone), ..query(JobFilter::default(), Order::OldestFirst, 100) };
    let expected = expected.iter().filter(|job| job.created_at >= at(3)).copied();
    assert_eq!(ids(&pages(&store, rest).await.concat()), ids(expected));
}

/// While others are stored, and jobs change, every job that was there at the first page appears exactly once.
pub async fn jobs_present_at_the_first_page_appear_once_while_others_come(backend: &dyn Backend) {
    let store = backend.open().await;
    let present: Vec<NewJob> = (0..50).map(|n| job(at(1_000 + n))).collect();
    insert(&store, present.clone()).await;
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut query = query(JobFilter::default(), order, 4);
        let mut seen: HashMap<JobId, usize> = HashMap::new();
        let mut round = 0;
        loop {
            let page = store.list(&query).await.expect("a page");
            for listed in page.jobs {
                *seen.entry(listed.key.id).or_default() += 1;
            }
            // Before, among and after those that were there.
            insert(&store, [job(at(round)), job(at(1_000 + round)), job(at(5_000 + round))]).await;
            let moved = &present[round as usize % 50].job;
            let ring = super::get(&store, &moved.key).await.ring(at(9_000)).expect("it is queued");
            store.apply(vec![ring]).await.expect("a change");
            round += 1;
            assert!(round < 200, "the list has an end");
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        for new in &present {
            assert_eq!(seen.get(&new.job.key.id), Some(&1), "{order:?}: {}", new.job.key.id);
        }
        assert!(seen.values().all(|times| *times == 1), "{order:?}: nothing appears twice");
    }
}

/// A rare filter makes short and empty pages that still lead on, never a long search.
pub async fn a_page_reads_a_bounded_stretch(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<NewJob> = (0..100).map(|n| job(at(n))).collect();
    jobs[77].job.tags = vec!["rare".into()];
    insert(&store, jobs.clone()).await;
    insert(&store, (0..50).map(|n| job_of("crowd".parse().expect("a name"), at(n)))).await;
    let filter = JobFilter { tag: Some("rare".into()), ..JobFilter::default() };
    let rare = ListQuery { scan_limit: 10, ..query(filter, Order::OldestFirst, 5) };
    let page = store.list(&rare).await.expect("a page");
    assert!(page.jobs.is_empty());
    assert_eq!(page.next, Some(Position { at: at(9), id: jobs[9].job.key.id }));
    let found = pages(&store, rare).await;
    assert_eq!(found.len(), 10, "the last stretch is known to be the last");
    assert_eq!(ids(found.iter().flatten()), [jobs[77].job.key.id]);
}

/// The lists of dead letters hold them alone, by when they failed; their times are the filter's.
pub async fn dead_letters_are_listed_by_their_failure(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs = assorted();
    insert(&store, jobs.clone()).await;
    let mut expected: Vec<&Job> = jobs.iter().map(|new| &new.job).filter(|job| job.failed_at.is_some()).collect();
    expected.sort_by_key(|job| (job.failed_at, job.key.id));
    assert_eq!(expected.len(), 10);
    let found = pages(&store, query(JobFilter::default(), Order::FailedOldestFirst, 3)).await.concat();
    assert_eq!(ids(&found), ids(expected.iter().copied()));
    let found = pages(&store, query(JobFilter::default(), Order::FailedNewestFirst, 4)).await.concat();
    assert_eq!(ids(&found), ids(expected.iter().rev().copied()));
    let late = JobFilter { from: Some(at(997)), before: Some(at(999)), ..JobFilter::default() };
    let found = pages(&store, query(late, Order::FailedOldestFirst, 100)).await.concat();
    let expected = expected.iter().filter(|job| job.failed_at >= Some(at(997)) && job.failed_at < Some(at(999)));
    assert_eq!(ids(&found), ids(expected.copied()));

    let retried = found[0].run_again(at(2_000), 1).expect("dead letters may run again");
    store.apply(vec![retried]).await.expect("a change");
    let left = pages(&store, query(JobFilter::default(), Order::FailedOldestFirst, 100)).await.concat();
    assert_eq!(left.len(), 9);
    assert!(!ids(&left).contains(&found[0].key.id), "a job that runs again is no dead letter");
}
