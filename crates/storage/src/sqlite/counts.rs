//! How many jobs there are in each queue and state: counted along with every write, so that nobody ever has to
//! count the jobs.

use std::collections::HashMap;

use gristmill_common::{
    QueueName, State, Tenant,
    job::{Job, JobKey},
};
use rusqlite::{Connection, params};

use super::{cells::Cells, fault::Fault, row};
use crate::QueueCounts;

type Cell = (Tenant, QueueName, State);

/// What a transaction changes in the numbers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By the operations that succeeded.
    kept: HashMap<Cell, i64>,
    /// By the one that runs.
    running: Vec<(Cell, i64)>,
}

impl Counts {
    /// There is one more.
    pub(super) fn add(&mut self, job: &Job) {
        self.running.push((cell(&job.key, &job.queue, job.state), 1));
    }

    /// One has moved.
    pub(super) fn moved(&mut self, job: &Job, from: State) {
        if from != job.state {
            self.removed(&job.key, &job.queue, from);
            self.add(job);
        }
    }

    /// There is one less.
    pub(super) fn removed(&mut self, key: &JobKey, queue: &QueueName, state: State) {
        self.running.push((cell(key, queue, state), -1));
    }

    /// The operation succeeded.
    pub(super) fn keep(&mut self) {
        for (cell, change) in self.running.drain(..) {
            *self.kept.entry(cell).or_default() += change;
        }
    }

    /// The operation was undone.
    pub(super) fn discard(&mut self) {
        self.running.clear();
    }

    /// The transaction is over.
    pub(super) fn forget(&mut self) {
        self.running.clear();
        self.kept.clear();
    }

    /// Writes what has changed, at the end of the transaction.
    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
        let mut statement = conn.prepare_cached(
            "INSERT INTO job_counts (tenant, queue, state, n) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET n = n + excluded.n",
        )?;
        for ((tenant, queue, state), change) in self.kept.iter().filter(|(_, change)| **change != 0) {
            statement.execute(params![tenant.as_str(), queue.as_str(), row::state_code(*state), change])?;
        }
        Ok(())
    }
}

fn cell(key: &JobKey, queue: &QueueName, state: State) -> Cell {
    (key.tenant.clone(), queue.clone(), state)
}

/// How many jobs there are; of every tenant when none is named.
pub(super) fn read(conn: &Connection, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT queue, state, sum(n) FROM job_counts WHERE ?1 IS NULL OR tenant = ?1 \
         GROUP BY queue, state HAVING sum(n) > 0",
    )?;
    let mut rows = statement.query([tenant.map(Tenant::as_str)])?;
    let mut counts = Vec::new();
    while let Some(found) = rows.next()? {
        let mut cells = Cells::of(found);
        counts.push(QueueCounts { queue: cells.parsed()?, state: cells.state()?, count: cells.unsigned()? });
    }
    Ok(counts)
}
