//! Bringing a database up to date: once, by one process at a time, whichever come together.

use std::{collections::HashMap, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use gristmill_common::{Clock, WorkerId};
use mongodb::{
    bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc},
    error::ErrorKind,
};

use super::{
    collections::{ACCEPTED, BLOB_CLOCK, DEADLINE, DUTIES, FAILED, INDEXES, Index, REGISTERS_DUE, SCHEMA},
    decode::Cell,
    document::time,
    fault::Fault,
    server::{Find, Sees, Server},
};
use crate::{Migration, StoreError};

/// Each brings the database from one version to the next. They are never changed once released, and may be begun again
/// after they were broken off.
const MIGRATIONS: [Step; 2] = [
    Step {
        version: 1,
        what: "jobs, dead letters, deadlines and blobs, each with its index",
        run: |server| build(server, &[&DUTIES, &ACCEPTED, &FAILED, &DEADLINE, &BLOB_CLOCK]).boxed(),
    },
    Step {
        version: 2,
        what: "registers, and the index of those that are due; gates in the documents of jobs",
        run: |server| build(server, &[&REGISTERS_DUE]).boxed(),
    },
];
/// The version that this build makes.
const VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// What brings the database to a version from the one before.
struct Step {
    version: u32,
    what: &'static str,
    run: for<'a> fn(&'a Server) -> BoxFuture<'a, Result<(), Fault>>,
}

/// The one document of the schema's collection.
const DOCUMENT: &str = "schema";
/// A migration that takes longer than this is taken for dead, and begun again by another process.
const LOCK: Duration = Duration::from_secs(60);
/// How long an index may take to build.
const BUILD: Duration = Duration::from_secs(15 * 60);

/// Checks the schema, and migrates it if it is an older one.
pub(super) async fn prepare(server: &Server, clock: &Clock) -> Result<(), Fault> {
    let (found, missing) = (find_version(server).await?, missing(server).await?);
    if found == VERSION && missing.is_empty() {
        return Ok(());
    }
    let holder = WorkerId::fresh().to_string();
    lock(server, &holder, clock).await?;
    let migrated = migrate(server, &holder).await;
    let unlock = rawdoc! { "q": { "_id": DOCUMENT, "lock.holder": holder }, "u": { "$unset": { "lock": "" } } };
    server.update(SCHEMA, [unlock].into_iter().collect()).await?.all()?;
    migrated
}

/// What [`prepare`] would do; writes nothing.
pub(super) async fn pending(server: &Server) -> Result<Vec<Migration>, Fault> {
    let found = find_version(server).await?;
    let missing = missing(server).await?;
    let mut pending: Vec<Migration> = MIGRATIONS
        .iter()
        .filter(|step| step.version > found)
        .map(|step| Migration { version: step.version, what: step.what.to_owned() })
        .collect();
    // A new index is a migration's; one that was there once is made again.
    if found == VERSION {
        pending.extend(missing.iter().map(|index| Migration {
            version: found,
            what: format!("the index `{}` of the collection `{}`, which is missing", index.name, index.collection),
        }));
    }
    Ok(pending)
}

/// Migrates what is an older version now that the lock is held, and makes indexes again that somebody has dropped.
async fn migrate(server: &Server, holder: &str) -> Result<(), Fault> {
    // Whoever held the lock before may have done it.
    let found = find_version(server).await?;
    for step in MIGRATIONS.iter().filter(|step| step.version > found) {
        (step.run)(server).await?;
        let mine = rawdoc! { "_id": DOCUMENT, "lock.holder": holder };
        let done = rawdoc! { "q": mine, "u": { "$set": { "version": i64::from(step.version) } } };
        if server.update(SCHEMA, [done].into_iter().collect()).await?.all()? != 1 {
            // It took longer than the lock holds, and another process has begun it again.
            return Err(Fault::Migrating);
        }
        tracing::info!(version = step.version, what = step.what, "the database was migrated");
    }
    build(server, &missing(server).await?).await
}

/// The version found, if this build knows it.
async fn find_version(server: &Server) -> Result<u32, Fault> {
    match version(server).await? {
        found if found > VERSION => Err(StoreError::NewerSchema { found, known: VERSION }.into()),
        found => Ok(found),
    }
}

/// The version found; 0 in a new database.
async fn version(server: &Server) -> Result<u32, Fault> {
    let find = Find { sees: Sees::Majority, ..Find::new(SCHEMA, rawdoc! { "_id": DOCUMENT }) };
    let found = server.find(find).await?;
    match found.first() {
        None => Ok(0),
        Some(document) => match document.get("version")? {
            None => Ok(0),
            Some(value) => Cell { document, field: "version", value }.number(),
        },
    }
}

/// Takes the lock, unless another process holds it: an upsert whose filter matches only a free one.
async fn lock(server: &Server, holder: &str, clock: &Clock) -> Result<(), Fault> {
    let now = clock.now();
    let free = rawdoc! { "lock": mongodb::bson::RawBson::Null };
    let over = rawdoc! { "lock.until": { "$lte": time(now) } };
    let set = rawdoc! { "lock": { "holder": holder, "until": time(now + LOCK) } };
    let statement = rawdoc! { "q": { "_id": DOCUMENT, "$or": [free, over] }, "u": { "$set": set }, "upsert": true };
    match server.update(SCHEMA, [statement].into_iter().collect()).await?.all() {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_duplicate() => Err(Fault::Migrating),
        Err(fault) => Err(fault),
    }
}

/// The declared indexes that are not there. One that is there and differs is an error: whoever made it decides.
async fn missing(server: &Server) -> Result<Vec<&'static Index>, Fault> {
    let mut found: HashMap<(&str, String), RawDocumentBuf> = HashMap::new();
    for collection in collections() {
        for index in existing(server, collection).await? {
            found.insert((collection, index.get_str("name")?.to_owned()), index);
        }
    }
    let mut missing = Vec::new();
    for index in INDEXES {
        match found.get(&(index.collection, index.name.to_owned())) {
            None => missing.push(index),
            Some(there) => check(index, there)?,
        }
    }
    Ok(missing)
}

fn collections() -> Vec<&'static str> {
    let mut collections: Vec<&str> = INDEXES.iter().map(|index| index.collection).collect();
    collections.sort_unstable();
    collections.dedup();
    collections
}

async fn existing(server: &Server, collection: &str) -> Result<Vec<RawDocumentBuf>, Fault> {
    /// The collection is not there yet.
    const NAMESPACE_NOT_FOUND: i32 = 26;

    match server.query("listIndexes", rawdoc! { "listIndexes": collection }).await {
        Err(Fault::Driver(error)) if matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == NAMESPACE_NOT_FOUND) => {
            Ok(Vec::new())
        }
        found => found,
    }
}

fn check(index: &Index, found: &RawDocument) -> Result<(), Fault> {
    let mut key = Vec::new();
    for field in found.get_document("key")? {
        let (name, value) = field?;
        let up = Cell { document: found, field: "key", value }.number::<i64>().is_ok_and(|direction| direction == 1);
        key.push(if up { name.as_str().to_owned() } else { format!("{name} (not ascending)") });
    }
    let has = |option: &str| found.get_bool(option).unwrap_or(false);
    let others = ["unique", "hidden"].into_iter().filter(|option: &&str| has(option));
    let others = others.chain(found.get("partialFilterExpression")?.map(|_| "partial"));
    let others: Vec<&str> = others.chain(found.get("expireAfterSeconds")?.map(|_| "expiring")).collect();
    if key == index.fields && has("sparse") == index.sparse && others.is_empty() {
        return Ok(());
    }
    let sparse = if has("sparse") { ", sparse" } else { "" };
    let others: String = others.iter().map(|option| format!(", {option}")).collect();
    Err(conflict(
        index,
        format!("it is on ({}){sparse}{others}; drop it, and this build makes it anew", key.join(", ")),
    ))
}

fn conflict(index: &Index, found: String) -> Fault {
    Fault::IndexConflict { collection: index.collection.into(), index: index.name.into(), found }
}

async fn build(server: &Server, missing: &[&'static Index]) -> Result<(), Fault> {
    for index in missing {
        let mut indexes = RawArrayBuf::new();
        indexes.push(index.declaration());
        let concern = rawdoc! { "w": "majority", "wtimeout": BUILD.as_millis() as i64 };
        let command = rawdoc! { "createIndexes": index.collection, "indexes": indexes, "writeConcern": concern };
        match server.run_within(BUILD, "createIndexes", command).await {
            Err(fault) if fault.is_index_conflict() => return Err(conflict(index, fault.to_string())),
            built => drop(built?),
        }
    }
    Ok(())
}
