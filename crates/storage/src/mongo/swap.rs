//! Swaps of registers: a command for each kind, all on their way at once. A command's reply counts what was made and
//! does not say which: where that was neither all nor nothing, one read tells by the tokens that writes leave.

use std::collections::{HashMap, HashSet};

use gristmill_common::Timestamp;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use serde_json::Value;

use super::{
    collections::REGISTERS,
    document::{signed, time},
    fault::Fault,
    registers::version,
    server::{Find, Sees, Server, among, id},
};
use crate::{Expect, Swap, registers::first_version};

/// How many of its last writes a register remembers by their tokens.
const REMEMBERED: u64 = 8;

/// A swap as it is sent.
struct Sent<'a> {
    /// Its place among the swaps of the call.
    place: usize,
    id: &'a str,
    /// The version that it expects.
    version: u64,
    /// What it leaves in the register.
    token: i64,
    /// The document to insert, the statement of the update, or the filter of the removal.
    document: RawDocumentBuf,
}

/// What became of a swap, as far as the register tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Made,
    Refused,
    /// The register is gone, or has changed too often since.
    Open,
}

/// Carries swaps out; says for each whether it was made.
pub(super) async fn swap(server: &Server, swaps: &[Swap]) -> Result<Vec<bool>, Fault> {
    let ids: Vec<String> = swaps.iter().map(|swap| swap.key.to_text()).collect();
    let (mut inserts, mut updates, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    let mut removed = HashSet::new();
    for (place, (swap, id)) in swaps.iter().zip(&ids).enumerate() {
        let token = fastrand::i64(..);
        let sent = |version, document| Sent { place, id, version, token, document };
        match (swap.expect, &swap.to) {
            (Expect::Absent, None) => {}
            (Expect::Absent, Some((value, due_at))) => inserts.push(sent(0, made(id, value, *due_at, token)?)),
            (Expect::Version(version), Some((value, due_at))) => {
                let update = changed(id, value, *due_at, token)?;
                updates.push(sent(version, rawdoc! { "q": at_version(id, version), "u": update }));
            }
            // Of two removals of one register nobody could tell which was made.
            (Expect::Version(version), None) if removed.insert(id) => {
                removals.push(sent(version, at_version(id, version)));
            }
            (Expect::Version(_), None) => {}
        }
    }
    let (inserted, updated, removed) =
        futures::try_join!(insert(server, &inserts), update(server, &updates), remove(server, &removals))?;
    let made: HashSet<usize> = [inserted, updated, removed].into_iter().flatten().collect();
    Ok((0..swaps.len()).map(|place| made.contains(&place)).collect())
}

/// A new register.
fn made(id: &str, value: &Value, due_at: Option<Timestamp>, token: i64) -> Result<RawDocumentBuf, Fault> {
    let mut tokens = RawArrayBuf::new();
    tokens.push(token);
    let mut document =
        rawdoc! { "_id": id, "version": signed(first_version()), "json": to_json(value)?, "changed_by": tokens };
    if let Some(at) = due_at {
        document.append(cstr!("due"), due(id, at));
    }
    Ok(document)
}

/// The update of a register.
fn changed(id: &str, value: &Value, due_at: Option<Timestamp>, token: i64) -> Result<RawDocumentBuf, Fault> {
    let mut tokens = RawArrayBuf::new();
    tokens.push(token);
    let mut set = rawdoc! { "json": to_json(value)? };
    let mut update = rawdoc! {
        "$inc": { "version": 1_i64 },
        "$push": { "changed_by": { "$each": tokens, "$slice": -signed(REMEMBERED) } },
    };
    match due_at {
        Some(at) => set.append(cstr!("due"), due(id, at)),
        None => update.append(cstr!("$unset"), rawdoc! { "due": "" }),
    }
    update.append(cstr!("$set"), set);
    Ok(update)
}

/// What only registers have that a duty must look at: a sparse index needs all of its fields to be missing elsewhere.
fn due(id: &str, at: Timestamp) -> RawDocumentBuf {
    rawdoc! { "at": time(at), "id": id }
}

fn at_version(id: &str, version: u64) -> RawDocumentBuf {
    rawdoc! { "_id": id, "version": signed(version) }
}

fn to_json(value: &Value) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Corrupt(error.to_string()))
}

fn documents<T: FromIterator<RawDocumentBuf>>(swaps: &[Sent<'_>]) -> T {
    swaps.iter().map(|swap| swap.document.clone()).collect()
}

/// Makes registers; tells the places of those that were not there.
async fn insert(server: &Server, swaps: &[Sent<'_>]) -> Result<Vec<usize>, Fault> {
    let mut made = Vec::with_capacity(swaps.len());
    for some in swaps.chunks(super::STATEMENTS) {
        let mut taken = HashSet::new();
        for (at, fault) in server.insert(REGISTERS, documents(some)).await?.refused {
            if !fault.is_duplicate() {
                return Err(fault);
            }
            taken.insert(at);
        }
        made.extend(some.iter().enumerate().filter(|(at, _)| !taken.contains(at)).map(|(_, swap)| swap.place));
    }
    Ok(made)
}

/// Changes registers; tells the places of those that were as expected.
async fn update(server: &Server, swaps: &[Sent<'_>]) -> Result<Vec<usize>, Fault> {
    let mut made = Vec::with_capacity(swaps.len());
    for some in swaps.chunks(super::STATEMENTS) {
        let n = server.update(REGISTERS, documents(some)).await?.all()?;
        made.extend(those_made(server, some, n).await?);
    }
    Ok(made)
}

/// Removes registers; tells the places of those that were as expected.
async fn remove(server: &Server, swaps: &[Sent<'_>]) -> Result<Vec<usize>, Fault> {
    let mut made = Vec::with_capacity(swaps.len());
    for some in swaps.chunks(super::STATEMENTS) {
        let n = server.delete(REGISTERS, documents::<Vec<_>>(some), 1).await?;
        made.extend(those_made(server, some, n).await?);
    }
    Ok(made)
}

/// Which of these swaps were made, if so many were.
async fn those_made(server: &Server, swaps: &[Sent<'_>], n: u64) -> Result<Vec<usize>, Fault> {
    let places = |swaps: &[&Sent<'_>]| swaps.iter().map(|swap| swap.place).collect::<Vec<_>>();
    if n == 0 {
        return Ok(Vec::new());
    }
    if n == swaps.len() as u64 {
        return Ok(swaps.iter().map(|swap| swap.place).collect());
    }
    let filter = rawdoc! { "_id": among(swaps.iter().map(|swap| swap.id)) };
    let fields = rawdoc! { "version": 1, "changed_by": 1 };
    let mut found = HashMap::new();
    for document in server.find(Find { fields, sees: Sees::Majority, ..Find::new(REGISTERS, filter) }).await? {
        found.insert(id(&document)?.to_owned(), (version(&document)?, tokens(&document)?));
    }
    let fate = |swap: &Sent<'_>| match found.get(swap.id) {
        Some((version, tokens)) => fate(swap.version, swap.token, *version, tokens),
        None => Fate::Open,
    };
    let (mut made, mut open) = (Vec::new(), Vec::new());
    for swap in swaps {
        match fate(swap) {
            Fate::Made => made.push(swap),
            Fate::Refused => {}
            Fate::Open => open.push(swap),
        }
    }
    // The count may tell of the rest.
    match n.saturating_sub(made.len() as u64) {
        0 => {}
        rest if rest == open.len() as u64 => made.append(&mut open),
        _ => return Err(Fault::Undecided),
    }
    Ok(places(&made))
}

/// What became of a swap that expected a version, by the register as it is now. Each change counts the version up by
/// one, so it is known whether the swap's token would still be remembered.
fn fate(expected: u64, token: i64, version: u64, tokens: &[i64]) -> Fate {
    if tokens.contains(&token) {
        return Fate::Made;
    }
    match version.checked_sub(expected) {
        Some(changes) if changes <= REMEMBERED => Fate::Refused,
        _ => Fate::Open,
    }
}

fn tokens(document: &RawDocument) -> Result<Vec<i64>, Fault> {
    let mut tokens = Vec::new();
    for token in document.get_array("changed_by")? {
        tokens.extend(token?.as_i64());
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_tells_what_became_of_a_swap_as_long_as_it_remembers() {
        assert_eq!(fate(7, 1, 8, &[5, 1]), Fate::Made);
        assert_eq!(fate(7, 1, 9, &[1, 2]), Fate::Made);
        assert_eq!(fate(7, 1, 7, &[5]), Fate::Refused, "nothing was changed");
        assert_eq!(fate(7, 1, 15, &[2, 3, 4, 5, 6, 7, 8, 9]), Fate::Refused, "the first of these would be its own");
        assert_eq!(fate(7, 1, 16, &[3, 4, 5, 6, 7, 8, 9, 10]), Fate::Open, "its own would be forgotten");
        assert_eq!(fate(7, 1, 6, &[5]), Fate::Open, "it is another register under the same key");
    }
}
