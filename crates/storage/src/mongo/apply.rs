//! Changes of jobs: many compare-and-sets in one command, and one read that tells which were made.

use std::collections::HashMap;

use async_trait::async_trait;
use gristmill_common::{
    Body,
    job::{Change, Job},
};
use mongodb::bson::rawdoc;

use super::{
    batcher::Work,
    blobs,
    collections::JOBS,
    decode::decode,
    document::{job_id, without_bodies},
    fault::Fault,
    insert::inline_bytes,
    known::{Expected, Known},
    link::Link,
    server::{Find, Sees, Server, among, id},
    update::statement,
};
use crate::StoreError;

/// Changes of jobs, as one command.
pub(super) struct Changes {
    pub(super) link: Link,
    pub(super) known: Known,
}

#[async_trait]
impl Work for Changes {
    type Item = Change;
    type Answer = Option<Job>;

    fn bytes(change: &Change) -> usize {
        bodies_of(change).map(inline_bytes).sum()
    }

    /// What is read back is a job after one change; a second change of it is for the next command.
    fn subject(change: &Change) -> Option<String> {
        Some(job_id(&change.key))
    }

    async fn carry_out(&self, changes: Vec<Change>) -> Result<Vec<Result<Option<Job>, Fault>>, Fault> {
        let server = self.link.server()?;
        let expected: Vec<Option<Expected>> = changes.iter().map(|change| self.known.expect(change)).collect();
        let was_expected: Vec<bool> = expected.iter().map(Option::is_some).collect();
        let sent: Vec<_> = changes.iter().zip(expected).collect();
        let mut answers = send(&server, sent).await?;
        // Where another process has changed a job meanwhile, the guard may hold all the same.
        let again: Vec<usize> =
            (0..changes.len()).filter(|&place| was_expected[place] && matches!(answers[place], Ok(None))).collect();
        if !again.is_empty() {
            match send(&server, again.iter().map(|&place| (&changes[place], None)).collect()).await {
                Ok(second) => again.iter().zip(second).for_each(|(&place, answer)| answers[place] = answer),
                Err(fault) => {
                    let error = StoreError::from(fault);
                    again.iter().for_each(|&place| answers[place] = Err(error.clone().into()));
                }
            }
        }
        self.known.remember(answers.iter().filter_map(|answer| answer.as_ref().ok()?.as_ref()));
        Ok(answers)
    }
}

/// Sends changes as one command, and reads back what is not known beforehand.
async fn send(
    server: &Server,
    changes: Vec<(&Change, Option<Expected>)>,
) -> Result<Vec<Result<Option<Job>, Fault>>, Fault> {
    let token = fastrand::i64(..);
    let statements = changes
        .iter()
        .map(|(change, expected)| statement(change, expected.as_ref().map(|expected| expected.version), token))
        .collect();
    let written = server.update(JOBS, statements).await?;
    let mut refused: HashMap<usize, Fault> = written.refused.into_iter().collect();
    // The count alone is proof for all. Otherwise each job tells by the token.
    let all_made = written.n == changes.len() as u64;
    let mut found = HashMap::new();
    let unknown: Vec<String> = changes
        .iter()
        .filter(|(_, expected)| written.n > 0 && !(all_made && expected.is_some()))
        .map(|(change, _)| job_id(&change.key))
        .collect();
    if !unknown.is_empty() {
        let filter = rawdoc! { "_id": among(unknown.iter().map(String::as_str)) };
        let find = Find { fields: without_bodies(), sees: Sees::Majority, ..Find::new(JOBS, filter) };
        for document in server.find(find).await? {
            match decode(&document) {
                Ok(record) if all_made || record.changed_by.contains(&token) => {
                    found.insert(id(&document)?.to_owned(), Ok(record.job));
                }
                // It was not changed.
                Ok(_) | Err(Fault::Newer(_)) => {}
                // Nobody can tell whether it was, and that is no matter of the others.
                Err(fault) => drop(found.insert(id(&document)?.to_owned(), Err(fault))),
            }
        }
    }
    let answer =
        |(place, (change, expected)): (usize, (&Change, Option<Expected>))| match (refused.remove(&place), expected) {
            (Some(fault), _) => Err(fault),
            (None, Some(expected)) if all_made => Ok(Some(expected.job)),
            (None, _) => found.remove(&job_id(&change.key)).transpose(),
        };
    Ok(changes.into_iter().enumerate().map(answer).collect())
}

/// What a change brings.
fn bodies_of(change: &Change) -> impl Iterator<Item = &Body> {
    change.payload.iter().chain(&change.result)
}

/// Carries changes out. The blob of a body is taken first, and let go of again if its change was not made.
pub(super) async fn apply(store: &super::MongoStore, changes: Vec<Change>) -> Result<Vec<Option<Job>>, StoreError> {
    let brought: Vec<_> = changes
        .iter()
        .enumerate()
        .flat_map(|(place, change)| {
            bodies_of(change).filter_map(move |body| match body {
                Body::Blob(blob) => Some((place, blobs::Taken { id: blob.id, owner: change.key.clone() })),
                Body::Inline(_) => None,
            })
        })
        .collect();
    if brought.is_empty() {
        return store.changes.write(changes).await;
    }
    let server = store.link.server()?;
    for (_, taken) in &brought {
        blobs::take(&server, taken).await?;
    }
    let answers = store.changes.write(changes).await?;
    for (place, taken) in brought {
        let owner = match answers.get(place) {
            Some(Some(_)) => blobs::Owner::Written,
            _ => blobs::Owner::ToBeAsked,
        };
        blobs::conclude(&server, &taken, owner).await;
    }
    Ok(answers)
}
