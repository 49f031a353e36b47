//! Small records: JSON by kind and name, as text, so that any name of a field is one.

use gristmill_common::{LeaderRecord, Timestamp};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    collections::RECORDS,
    document::time,
    fault::{Fault, wrong},
    server::{Find, Server},
};
use crate::Kind;

/// The one record of who leads.
const LEADER: &str = "leader";

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Queue => "queue",
        Kind::Worker => "worker",
        Kind::JobType => "job_type",
    }
}

fn record_id(kind: Kind, name: &str) -> String {
    format!("{}/{name}", word(kind))
}

fn to_json(record: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(record).map_err(|error| Fault::Corrupt(error.to_string()))
}

fn from_json<T: DeserializeOwned>(document: &RawDocument) -> Result<T, Fault> {
    serde_json::from_str(document.get_str("json")?).map_err(|error| wrong(document, "json", error))
}

pub(super) async fn put(server: &Server, kind: Kind, name: &str, record: &Value) -> Result<(), Fault> {
    let (id, json) = (record_id(kind, name), to_json(record)?);
    let statement =
        || rawdoc! { "q": { "_id": id.as_str() }, "u": { "$set": { "json": json.as_str() } }, "upsert": true };
    match server.update(RECORDS, [statement()].into_iter().collect()).await?.all() {
        // Two stored the first one at the same moment: now there is one to replace.
        Err(fault) if fault.is_duplicate() => {
            server.update(RECORDS, [statement()].into_iter().collect()).await?.all().map(drop)
        }
        outcome => outcome.map(drop),
    }
}

pub(super) async fn add(server: &Server, kind: Kind, name: &str, record: &Value) -> Result<bool, Fault> {
    let mut documents = RawArrayBuf::new();
    documents.push(rawdoc! { "_id": record_id(kind, name), "json": to_json(record)? });
    match server.insert(RECORDS, documents).await?.all() {
        Ok(stored) => Ok(stored == 1),
        Err(fault) if fault.is_duplicate() => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Replaces the text that this build would have written; where there is another text, one that says the same.
pub(super) async fn replace(
    server: &Server,
    kind: Kind,
    name: &str,
    expected: &Value,
    record: &Value,
) -> Result<bool, Fault> {
    let (id, new) = (record_id(kind, name), to_json(record)?);
    let swap = async |old: &str| {
        let statement = rawdoc! { "q": { "_id": id.as_str(), "json": old }, "u": { "$set": { "json": new.as_str() } } };
        Ok::<_, Fault>(server.update(RECORDS, [statement].into_iter().collect()).await?.all()? == 1)
    };
    if swap(&to_json(expected)?).await? {
        return Ok(true);
    }
    let found = server.find(Find::new(RECORDS, rawdoc! { "_id": id.as_str() })).await?;
    match found.first() {
        Some(there) if from_json::<Value>(there)? == *expected => swap(there.get_str("json")?).await,
        _ => Ok(false),
    }
}

pub(super) async fn of_kind(server: &Server, kind: Kind) -> Result<Vec<Value>, Fault> {
    let word = word(kind);
    let filter = rawdoc! { "_id": { "$gte": format!("{word}/"), "$lt": format!("{word}0") } };
    let find = Find { sort: rawdoc! { "_id": 1 }, ..Find::new(RECORDS, filter) };
    server.find(find).await?.iter().map(|document| from_json(document)).collect()
}

pub(super) async fn drop_one(server: &Server, kind: Kind, name: &str) -> Result<(), Fault> {
    server.delete(RECORDS, [rawdoc! { "_id": record_id(kind, name) }], 1).await.map(drop)
}

/// Takes the lead by an upsert whose filter matches only a record that may be replaced: where it matches none, the
/// key is taken, and somebody else leads.
pub(super) async fn lead(server: &Server, record: &LeaderRecord, now: Timestamp) -> Result<bool, Fault> {
    let holder = record.holder.to_string();
    let mine: RawDocumentBuf = rawdoc! { "holder": holder.as_str() };
    let over = rawdoc! { "until": { "$lte": time(now) } };
    let set = rawdoc! { "holder": holder.as_str(), "until": time(record.until), "json": to_json(record)? };
    let statement = rawdoc! { "q": { "_id": LEADER, "$or": [mine, over] }, "u": { "$set": set }, "upsert": true };
    match server.update(RECORDS, [statement].into_iter().collect()).await?.all() {
        Ok(led) => Ok(led == 1),
        Err(fault) if fault.is_duplicate() => Ok(false),
        Err(fault) => Err(fault),
    }
}

pub(super) async fn leader(server: &Server) -> Result<Option<LeaderRecord>, Fault> {
    let found = server.find(Find::new(RECORDS, rawdoc! { "_id": LEADER })).await?;
    found.first().map(|document| from_json(document)).transpose()
}
