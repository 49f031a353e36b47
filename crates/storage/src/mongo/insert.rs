//! Storing new jobs.

use std::collections::HashMap;

use async_trait::async_trait;
use gristmill_common::{Body, job::NewJob};
use mongodb::bson::rawdoc;

use super::{
    batcher::Work,
    blobs,
    collections::JOBS,
    decode::decode,
    document::{encode, job_id, job_key, without_bodies},
    fault::{Fault, wrong},
    link::Link,
    server::{Find, Sees, among, id},
};
use crate::{Inserted, StoreError};

/// Inserts of jobs, as one command.
pub(super) struct Inserts(pub(super) Link);

#[async_trait]
impl Work for Inserts {
    type Item = NewJob;
    type Answer = Inserted;

    fn bytes(new: &NewJob) -> usize {
        [Some(&new.payload), new.text.as_ref()].into_iter().flatten().map(inline_bytes).sum()
    }

    /// The server takes a key once, and says so to the others.
    fn subject(_: &NewJob) -> Option<String> {
        None
    }

    async fn carry_out(&self, jobs: Vec<NewJob>) -> Result<Vec<Result<Inserted, Fault>>, Fault> {
        let server = self.0.server()?;
        let documents = jobs.iter().map(encode).collect::<Result<Vec<_>, Fault>>()?;
        let written = server.insert(JOBS, documents.into_iter().collect()).await?;
        let mut answers: Vec<Result<Inserted, Fault>> = jobs.iter().map(|_| Ok(Inserted::Created)).collect();
        let mut taken = Vec::new();
        for (place, fault) in written.refused {
            if fault.is_duplicate() {
                taken.push(place);
            } else if let Some(answer) = answers.get_mut(place) {
                *answer = Err(fault);
            }
        }
        if taken.is_empty() {
            return Ok(answers);
        }
        let ids: Vec<String> =
            taken.iter().filter_map(|place| jobs.get(*place)).map(|new| job_id(&new.job.key)).collect();
        let filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)) };
        let find = Find { fields: without_bodies(), sees: Sees::Majority, ..Find::new(JOBS, filter) };
        let mut found = HashMap::new();
        for document in server.find(find).await? {
            let key = job_key(id(&document)?).ok_or_else(|| wrong(&document, "_id", "is no key of a job"))?;
            found.insert(key, decode(&document));
        }
        for place in taken {
            let (Some(new), Some(answer)) = (jobs.get(place), answers.get_mut(place)) else { continue };
            *answer = match found.get(&new.job.key) {
                Some(Ok(record)) => Ok(Inserted::Exists(record.job.clone())),
                Some(Err(Fault::Newer(id))) => Err(Fault::Newer(id.clone())),
                Some(Err(fault)) => Err(Fault::Corrupt(fault.to_string())),
                None => Err(Fault::Vanished(new.job.key.id)),
            };
        }
        Ok(answers)
    }
}

pub(super) fn inline_bytes(body: &Body) -> usize {
    if let Body::Inline(bytes) = body { bytes.len() } else { 0 }
}

/// Stores new jobs. The blobs that they bring are taken first, so that no collector finds them without a job, and let
/// go of again where a job was there already.
pub(super) async fn insert(store: &super::MongoStore, jobs: Vec<NewJob>) -> Result<Vec<Inserted>, StoreError> {
    let mut brought = Vec::new();
    for (place, new) in jobs.iter().enumerate() {
        for body in [Some(&new.payload), new.text.as_ref()].into_iter().flatten() {
            if let Body::Blob(blob) = body {
                brought.push((place, blobs::Taken { id: blob.id, owner: new.job.key.clone() }));
            }
        }
    }
    if brought.is_empty() {
        return store.inserts.write(jobs).await;
    }
    let server = store.link.server()?;
    for (_, taken) in &brought {
        blobs::take(&server, taken).await?;
    }
    let answers = match store.inserts.write(jobs).await {
        Ok(answers) => answers,
        Err(error) => {
            if !matches!(error, StoreError::Unavailable(_)) {
                for (_, taken) in &brought {
                    blobs::conclude(&server, taken, blobs::Owner::ToBeAsked).await;
                }
            }
            return Err(error);
        }
    };
    for (place, taken) in brought {
        let owner = match answers.get(place) {
            Some(Inserted::Created) => blobs::Owner::Written,
            _ => blobs::Owner::ToBeAsked,
        };
        blobs::conclude(&server, &taken, owner).await;
    }
    Ok(answers)
}
