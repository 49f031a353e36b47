//! Pages of a tenant's jobs. A page reads a bounded stretch of one index: where a filter may leave jobs out, the
//! stretch's end is sought first, in the index alone.

use gristmill_common::Timestamp;
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    collections::{ACCEPTED, FAILED, Index, JOBS},
    decode::decode,
    document::{job_id, job_key, time, without_bodies},
    fault::Fault,
    server::{Find, Server},
};
use crate::{JobFilter, ListQuery, Order, Page, Position};

/// The index that an order follows, the names of its fields, and the direction.
pub(super) struct Path {
    index: &'static Index,
    tenant: &'static str,
    clock: &'static str,
    id: &'static str,
    forward: bool,
}

impl Path {
    pub(super) fn of(order: Order) -> Self {
        let (index, forward) = match order {
            Order::NewestFirst => (&ACCEPTED, false),
            Order::OldestFirst => (&ACCEPTED, true),
            Order::FailedNewestFirst => (&FAILED, false),
            Order::FailedOldestFirst => (&FAILED, true),
        };
        Self { index, tenant: index.fields[0], clock: index.fields[1], id: index.fields[2], forward }
    }

    /// The place of a job in the list.
    fn position(&self, job: &RawDocument) -> Result<Position, Fault> {
        let (at, id) = match self.index.name == FAILED.name {
            true => (job.get_document("dead")?.get_datetime("at")?, job.get_document("dead")?.get_str("id")?),
            false => (job.get_datetime("created_at")?, job.get_str("_id")?),
        };
        let key = job_key(id).ok_or_else(|| Fault::Corrupt(format!("`{id}` is no key of a job")))?;
        Ok(Position { at: Timestamp::from_millis(at.timestamp_millis()), id: key.id })
    }

    fn sort(&self) -> RawDocumentBuf {
        let direction = if self.forward { 1 } else { -1 };
        field(self.clock, direction).into_iter().chain(field(self.id, direction)).collect()
    }

    /// What lies on this side of a place, in the order of the list.
    fn beside(&self, query: &ListQuery, place: Position, side: Side) -> RawDocumentBuf {
        let (beyond, along) = match (side, self.forward) {
            (Side::After, true) => ("$gt", "$gt"),
            (Side::After, false) => ("$lt", "$lt"),
            (Side::UpTo, true) => ("$lt", "$lte"),
            (Side::UpTo, false) => ("$gt", "$gte"),
        };
        let id = job_id(&gristmill_common::job::JobKey { tenant: query.tenant.clone(), id: place.id });
        let mut either = RawArrayBuf::new();
        either.push(one(self.clock, range(beyond, time(place.at))));
        let mut tie = one(self.clock, time(place.at));
        append(&mut tie, self.id, range(along, id));
        either.push(tie);
        rawdoc! { "$or": either }
    }

    /// The stretch of the index between two places.
    fn stretch(&self, query: &ListQuery, up_to: Option<Position>) -> RawDocumentBuf {
        let (mut low, mut high) = (query.filter.from, None);
        let mut within = RawArrayBuf::new();
        for (place, side) in [(query.after, Side::After), (up_to, Side::UpTo)] {
            let Some(place) = place else { continue };
            within.push(self.beside(query, place, side));
            // The same said of the time alone, so that the range of the index is a narrow one.
            if (side == Side::After) == self.forward {
                low = low.max(Some(place.at));
            } else {
                high = Some(high.map_or(place.at, |high: Timestamp| high.min(place.at)));
            }
        }
        let mut clock = RawDocumentBuf::new();
        if let Some(low) = low {
            clock.append(cstr!("$gte"), time(low));
        }
        if let Some(high) = high {
            clock.append(cstr!("$lte"), time(high));
        }
        if let Some(before) = query.filter.before {
            clock.append(cstr!("$lt"), time(before));
        }
        let mut filter = one(self.tenant, query.tenant.as_str());
        if !clock.is_empty() {
            append(&mut filter, self.clock, clock);
        }
        if query.after.is_some() || up_to.is_some() {
            filter.append(cstr!("$and"), within);
        }
        filter
    }

    fn find(&self, filter: RawDocumentBuf) -> Find<'static> {
        Find { sort: self.sort(), hint: Some(self.index.name), ..Find::new(JOBS, filter) }
    }

    /// The last entry that may be read, if there are others after it.
    pub(super) fn end_find(&self, query: &ListQuery) -> Find<'static> {
        Find {
            fields: field(self.clock, 1).into_iter().chain(field(self.id, 1)).collect(),
            skip: query.scan_limit.saturating_sub(1),
            limit: Some(2),
            ..self.find(self.stretch(query, None))
        }
    }

    pub(super) fn page_find(&self, query: &ListQuery, end: Option<Position>) -> Find<'static> {
        let mut filter = self.stretch(query, end);
        narrow(&mut filter, &query.filter);
        let limit = query.limit.min(query.scan_limit).saturating_add(1);
        Find { fields: without_bodies(), limit: Some(limit), ..self.find(filter) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    After,
    UpTo,
}

fn field(name: &'static str, value: i32) -> Option<(&'static mongodb::bson::raw::CStr, i32)> {
    name.try_into().ok().map(|name| (name, value))
}

fn one(name: &'static str, value: impl mongodb::bson::raw::BindRawBsonRef) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    append(&mut document, name, value);
    document
}

fn append(document: &mut RawDocumentBuf, name: &'static str, value: impl mongodb::bson::raw::BindRawBsonRef) {
    if let Ok(name) = <&mongodb::bson::raw::CStr>::try_from(name) {
        document.append(name, value);
    }
}

fn range(operator: &'static str, value: impl mongodb::bson::raw::BindRawBsonRef) -> RawDocumentBuf {
    one(operator, value)
}

/// Adds what the index does not know.
fn narrow(filter: &mut RawDocumentBuf, by: &JobFilter) {
    if !by.states.is_empty() {
        let states: RawArrayBuf = by.states.iter().map(|state| state.as_str()).collect();
        filter.append(cstr!("state"), rawdoc! { "$in": states });
    }
    if let Some(job_type) = &by.job_type {
        filter.append(cstr!("type"), job_type.as_str());
    }
    if let Some(queue) = &by.queue {
        filter.append(cstr!("queue"), queue.as_str());
    }
    if let Some(priority) = by.priority {
        filter.append(cstr!("priority"), priority.band() as i64);
    }
    if let Some(tag) = &by.tag {
        filter.append(cstr!("tags"), tag.as_str());
    }
}

fn leaves_out(filter: &JobFilter) -> bool {
    let JobFilter { states, job_type, queue, priority, tag, from: _, before: _ } = filter;
    !states.is_empty() || job_type.is_some() || queue.is_some() || priority.is_some() || tag.is_some()
}

pub(super) async fn list(server: &Server, query: &ListQuery) -> Result<Page, Fault> {
    let path = Path::of(query.order);
    // Jobs that come before the end in the meantime are listed or not, but nothing is listed twice.
    let end = if leaves_out(&query.filter) { end(server, query, &path).await? } else { None };
    let mut found = server.find(path.page_find(query, end)).await?;
    let most = query.limit.min(query.scan_limit);
    let mut next = end;
    if found.len() > most {
        found.truncate(most);
        next = found.last().map(|document| path.position(document)).transpose()?;
    }
    let mut jobs = Vec::with_capacity(found.len());
    for document in found {
        match decode(&document) {
            // Newer builds show it.
            Err(Fault::Newer(_)) => {}
            record => jobs.push(record?.job),
        }
    }
    Ok(Page { jobs, next })
}

async fn end(server: &Server, query: &ListQuery, path: &Path) -> Result<Option<Position>, Fault> {
    let found = server.find(path.end_find(query)).await?;
    let [last, _] = &found[..] else { return Ok(None) };
    path.position(last).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_follows_its_index_to_the_end() {
        for order in [Order::NewestFirst, Order::OldestFirst, Order::FailedNewestFirst, Order::FailedOldestFirst] {
            let path = Path::of(order);
            assert_eq!([path.tenant, path.clock, path.id], path.index.fields);
        }
    }
}
