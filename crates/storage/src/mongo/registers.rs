//! Registers, each a document that is changed by comparing its version.

use std::collections::HashMap;

use async_trait::async_trait;
use gristmill_common::{Tenant, Timestamp};
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    MongoStore,
    collections::{REGISTERS, REGISTERS_DUE},
    decode::{Cell, leave_out},
    document::time,
    fault::{Fault, wrong},
    server::{Find, Sees, Server, among, id},
    swap,
};
use crate::{Register, RegisterKey, RegisterStore, Space, StoreError, Swap};

#[async_trait]
impl RegisterStore for MongoStore {
    async fn registers(&self, keys: &[RegisterKey]) -> Result<Vec<Option<Register>>, StoreError> {
        Ok(read(&self.link.server()?, keys).await?)
    }

    async fn swap(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, StoreError> {
        let server = self.link.server()?;
        let alone = swaps.len() == 1;
        // What went wrong with one swap says nothing of the others.
        swap::swap(&server, &swaps)
            .await
            .map_err(|fault| if alone { fault.into() } else { StoreError::unavailable(fault) })
    }

    async fn due_registers(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, RegisterKey)>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError> {
        let find = |after: Option<&(Timestamp, String)>| due_find(until, after, limit);
        let after = after.map(|(at, key)| (at, key.to_text()));
        Ok(page(&self.link.server()?, limit, after, find, due_place).await?)
    }

    async fn list_registers(
        &self,
        space: Space,
        tenant: Option<&Tenant>,
        after: Option<&RegisterKey>,
        limit: usize,
    ) -> Result<Vec<Register>, StoreError> {
        let find = |after: Option<&String>| list_find(space, tenant, after.map(String::as_str), limit);
        let place = |document: &RawDocument| id(document).ok().map(str::to_owned);
        Ok(page(&self.link.server()?, limit, after.map(RegisterKey::to_text), find, place).await?)
    }
}

async fn read(server: &Server, keys: &[RegisterKey]) -> Result<Vec<Option<Register>>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = keys.iter().map(RegisterKey::to_text).collect();
    let filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)) };
    let mut found = HashMap::new();
    for document in server.find(Find { sees: Sees::Majority, ..Find::new(REGISTERS, filter) }).await? {
        if document.get("v")?.is_some() {
            return Err(Fault::Newer(id(&document)?.to_owned()));
        }
        let register = decode(&document)?;
        found.insert(register.key.clone(), register);
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

/// At most so many of those that can be read, after a place in their order: where some cannot be read, others are read
/// in their place.
async fn page<P: PartialEq>(
    server: &Server,
    most: usize,
    mut after: Option<P>,
    find: impl Fn(Option<&P>) -> Find<'static>,
    place: impl Fn(&RawDocument) -> Option<P>,
) -> Result<Vec<Register>, Fault> {
    let mut registers = Vec::new();
    // To the server, no limit is 0.
    if most == 0 {
        return Ok(registers);
    }
    loop {
        let found = server.find(find(after.as_ref())).await?;
        for document in &found {
            match decode(document) {
                Ok(register) => registers.push(register),
                Err(fault) => leave_out(document, &fault),
            }
        }
        let last = found.last().filter(|_| found.len() >= most && registers.len() < most);
        let last = last.and_then(|document| place(document));
        // Behind one that has no place, nothing can be found.
        if last.is_none() || last == after {
            break;
        }
        after = last;
    }
    registers.truncate(most);
    Ok(registers)
}

/// Where a register is in the order of those that are due.
fn due_place(document: &RawDocument) -> Option<(Timestamp, String)> {
    let due = document.get_document("due").ok()?;
    let at = due.get_datetime("at").ok()?;
    Some((Timestamp::from_millis(at.timestamp_millis()), due.get_str("id").unwrap_or_default().to_owned()))
}

/// What a newer build has written has a version, and is left to newer builds.
fn of_this_build(mut filter: RawDocumentBuf) -> RawDocumentBuf {
    filter.append(cstr!("v"), RawBsonRef::Null);
    filter
}

pub(super) fn due_find(until: Timestamp, after: Option<&(Timestamp, String)>, limit: usize) -> Find<'static> {
    let filter = match after {
        None => rawdoc! { "due.at": { "$lte": time(until) } },
        Some((at, key)) => {
            let mut either = RawArrayBuf::new();
            either.push(rawdoc! { "due.at": { "$gt": time(*at) } });
            either.push(rawdoc! { "due.id": { "$gt": key.as_str() } });
            rawdoc! { "due.at": { "$gte": time(*at), "$lte": time(until) }, "$or": either }
        }
    };
    Find {
        sort: rawdoc! { "due.at": 1, "due.id": 1 },
        hint: Some(REGISTERS_DUE.name),
        limit: Some(limit),
        ..Find::new(REGISTERS, of_this_build(filter))
    }
}

pub(super) fn list_find(space: Space, tenant: Option<&Tenant>, after: Option<&str>, limit: usize) -> Find<'static> {
    let (start, end) = RegisterKey::range(space, tenant);
    let start = after.map_or(start.clone(), |key| key.to_owned().max(start));
    let filter = of_this_build(rawdoc! { "_id": { "$gt": start, "$lt": end } });
    Find { sort: rawdoc! { "_id": 1 }, limit: Some(limit), ..Find::new(REGISTERS, filter) }
}

fn decode(document: &RawDocument) -> Result<Register, Fault> {
    let key = RegisterKey::from_text(id(document)?).ok_or_else(|| wrong(document, "_id", "is no key of a register"))?;
    let due_at = match document.get("due")? {
        Some(due) => {
            let due = due.as_document().ok_or_else(|| wrong(document, "due", "is no document"))?;
            Some(Timestamp::from_millis(due.get_datetime("at")?.timestamp_millis()))
        }
        None => None,
    };
    let value = serde_json::from_str(document.get_str("json")?).map_err(|error| wrong(document, "json", error))?;
    Ok(Register { key, version: version(document)?, due_at, value })
}

/// The version of a register that was read.
pub(super) fn version(document: &RawDocument) -> Result<u64, Fault> {
    let value = document.get("version")?.ok_or_else(|| wrong(document, "version", "is missing"))?;
    Cell { document, field: "version", value }.number()
}
