//! How many jobs there are. MongoDB has to count them: along the duties' index, without looking at a job. A table
//! that every change of a job wrote to would be the busiest document of all, and wrong after a crash.
//!
//! So a count is kept for twenty times as long as it took: whoever asks how often, counting takes at most a
//! twentieth of the time, and the answer is a few hundredths of a second old in a small store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{QueueName, State, Tenant};
use mongodb::bson::{RawArrayBuf, RawDocument, raw::cstr, rawdoc};

use super::{
    collections::{DUTIES, JOBS},
    decode::{Cell, state},
    fault::Fault,
    link::Link,
    server::{PATIENCE, Server},
};
use crate::QueueCounts;

/// A count is good for this many times as long as it took.
const GOOD_FOR: u32 = 20;
/// How long a count may take: a store of a hundred million jobs.
const LONGEST: Duration = Duration::from_secs(120);

/// Counts, kept for a while.
#[derive(Clone, Default)]
pub(super) struct Counts {
    kept: Arc<Mutex<Option<Kept>>>,
    counting: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Kept {
    cells: Arc<[Cells]>,
    until: Instant,
}

struct Cells {
    tenant: Tenant,
    counts: QueueCounts,
}

impl Counts {
    /// How many jobs there are; of every tenant when none is named.
    pub(super) async fn read(&self, link: &Link, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, Fault> {
        let mut counts: HashMap<(QueueName, State), u64> = HashMap::new();
        for cell in self.fresh(link).await?.iter() {
            if tenant.is_none_or(|tenant| cell.tenant == *tenant) {
                *counts.entry((cell.counts.queue.clone(), cell.counts.state)).or_default() += cell.counts.count;
            }
        }
        let mut counts: Vec<QueueCounts> =
            counts.into_iter().map(|((queue, state), count)| QueueCounts { queue, state, count }).collect();
        counts.sort_by(|one, other| (&one.queue, one.state).cmp(&(&other.queue, other.state)));
        Ok(counts)
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fresh(&self, link: &Link) -> Result<Arc<[Cells]>, Fault> {
        let good = |kept: Option<Kept>| kept.filter(|kept| Instant::now() < kept.until).map(|kept| kept.cells);
        if let Some(cells) = good(self.kept()) {
            return Ok(cells);
        }
        let server = link.server()?;
        let counts = self.clone();
        // It goes on when the caller has no more patience, so that a large store is counted at last.
        let counting = tokio::spawn(async move {
            let _alone = counts.counting.lock().await;
            if let Some(cells) = good(counts.kept()) {
                return Ok(cells);
            }
            let began = Instant::now();
            let cells: Arc<[Cells]> = count(&server).await?.into();
            let kept = Kept { cells: Arc::clone(&cells), until: Instant::now() + began.elapsed() * GOOD_FOR };
            *counts.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
            Ok(cells)
        });
        let fault = match tokio::time::timeout(PATIENCE, counting).await {
            Ok(Ok(Ok(counted))) => return Ok(counted),
            Ok(Ok(Err(fault))) => fault,
            Ok(Err(_)) | Err(_) => Fault::TimedOut(PATIENCE),
        };
        // An old count is better than none.
        let Some(kept) = self.kept() else { return Err(fault) };
        tracing::debug!(error = %fault, "jobs could not be counted; the count before is told");
        Ok(kept.cells)
    }
}

async fn count(server: &Server) -> Result<Vec<Cells>, Fault> {
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$group": {
        "_id": { "tenant": "$tenant", "queue": "$queue", "state": "$state" },
        "n": { "$sum": 1_i64 },
    } });
    let mut command = rawdoc! { "aggregate": JOBS, "pipeline": stages, "cursor": {}, "hint": DUTIES.name };
    command.append(cstr!("maxTimeMS"), LONGEST.as_millis() as i64);
    server.query_within(LONGEST, "aggregate", command).await?.iter().map(|group| cells(group)).collect()
}

fn cells(group: &RawDocument) -> Result<Cells, Fault> {
    let unreadable = || Fault::Corrupt("a count that cannot be read".into());
    let cell = group.get_document("_id")?;
    let value = group.get("n")?.ok_or_else(unreadable)?;
    Ok(Cells {
        tenant: cell.get_str("tenant")?.parse().map_err(|_| unreadable())?,
        counts: QueueCounts {
            queue: cell.get_str("queue")?.parse().map_err(|_| unreadable())?,
            state: state(cell.get_str("state")?).ok_or_else(unreadable)?,
            count: Cell { document: group, field: "n", value }.number()?,
        },
    })
}
