//! Holds the reads to the indexes that they were written for. The server used for tests explains nothing, so the rule
//! is checked here: a read is equal on the first fields of its index, and the next ones are its range and its order.

use std::collections::BTreeSet;

use gristmill_common::{
    JobId, State, Tenant, Timestamp,
    job::{Lane, Priority},
};
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    blobs,
    collections::INDEXES,
    jobs_read, list, registers,
    server::{Find, Sees},
};
use crate::{DueScan, JobFilter, ListQuery, Order, Position, RegisterKey, Space};

/// The fields on which a filter is equal, and those of which it takes a range.
fn fields(filter: &RawDocument, equal: &mut BTreeSet<String>, ranges: &mut BTreeSet<String>) {
    for field in filter {
        let (name, value) = field.expect("a field");
        match (name.as_str(), value) {
            ("$and" | "$or", RawBsonRef::Array(parts)) => {
                for part in parts {
                    // What is equal in one part only is no equality of the whole.
                    let (mut in_part, mut rest) = (BTreeSet::new(), BTreeSet::new());
                    fields(part.expect("a part").as_document().expect("a filter"), &mut in_part, &mut rest);
                    ranges.extend(in_part);
                    ranges.extend(rest);
                }
            }
            (name, RawBsonRef::Document(_)) => drop(ranges.insert(name.to_owned())),
            (name, _) => drop(equal.insert(name.to_owned())),
        }
    }
}

fn follows_its_index(find: &Find<'_>, beside_the_index: &[&str]) {
    let hint = find.hint.expect("a read along an index names it");
    let index = INDEXES.iter().find(|index| index.collection == find.collection && index.name == hint);
    let index = index.unwrap_or_else(|| panic!("{hint} is not declared"));
    let (mut equal, mut ranges) = (BTreeSet::new(), BTreeSet::new());
    fields(&find.filter, &mut equal, &mut ranges);
    for field in beside_the_index {
        assert!(equal.remove(*field) || ranges.remove(*field), "{field} is asked about");
    }
    let (first, rest) = index.fields.split_at(equal.len());
    assert_eq!(equal, first.iter().map(|field| (*field).to_owned()).collect(), "{hint}: equal on the first fields");
    let sort: Vec<String> = find.sort.iter().map(|field| field.expect("a field").0.as_str().to_owned()).collect();
    assert!(rest.starts_with(&sort.iter().map(String::as_str).collect::<Vec<_>>()), "{hint}: sorted by {sort:?}");
    let within: BTreeSet<String> = rest.iter().take(sort.len().max(1)).map(|field| (*field).to_owned()).collect();
    assert!(ranges.is_subset(&within), "{hint}: ranges of {ranges:?}");
    let directions: BTreeSet<i32> =
        find.sort.iter().map(|field| field.expect("a field").1.as_i32().expect("a direction")).collect();
    assert!(directions.len() <= 1, "{hint}: read in one direction");
}

fn place() -> Position {
    Position { at: Timestamp::from_millis(7), id: JobId::fresh() }
}

#[test]
fn each_duty_reads_a_range_of_its_index() {
    let lane = Lane { queue: "q".parse().expect("a name"), priority: Priority::High, tenant: Tenant::default() };
    let until = Timestamp::from_millis(9);
    for (state, lane) in [(State::Queued, Some(lane)), (State::Running, None)] {
        for after in [None, Some(place())] {
            let scan = DueScan { state, lane: lane.clone(), until, after, limit: 5 };
            // What a newer build has written is left out beside the index.
            follows_its_index(&jobs_read::due_find(&scan), &["v"]);
        }
    }
    follows_its_index(&jobs_read::overdue_find(until, 5), &["v"]);
    // Where some cannot be read, the scan goes on in the same range.
    let (at, seen) = (mongodb::bson::DateTime::from_millis(8), RawArrayBuf::new());
    let scan = DueScan { state: State::Running, lane: None, until, after: Some(place()), limit: 5 };
    let wake_at = mongodb::bson::raw::cstr!("wake_at");
    follows_its_index(&jobs_read::beyond(jobs_read::due_find(&scan), wake_at, at, seen.clone()), &["v"]);
    let deadline = mongodb::bson::raw::cstr!("deadline");
    follows_its_index(&jobs_read::beyond(jobs_read::overdue_find(until, 5), deadline, at, seen), &["v", "_id"]);
    follows_its_index(&blobs::clock_find("uploading", rawdoc! { "$lte": 1 }, 5), &[]);
    let waiting =
        Find { hint: Some("duties"), ..Find::new("jobs", jobs_read::waiting_in(&"q".parse().expect("a name"))) };
    follows_its_index(&waiting, &[]);
    let count = Find { hint: Some("duties"), ..Find::new("jobs", jobs_read::count_filter(State::Failed, until)) };
    follows_its_index(&count, &[]);
}

#[test]
fn a_job_is_told_only_as_no_failover_undoes_it() {
    let key = gristmill_common::job::JobKey { tenant: Tenant::default(), id: JobId::fresh() };
    assert_eq!(jobs_read::get_find(&key).sees, Sees::Majority);
}

#[test]
fn registers_are_read_along_their_index() {
    let key = RegisterKey { space: Space::Slots, tenant: Tenant::default(), name: "a".into() };
    let text = key.to_text();
    for after in [None, Some((Timestamp::from_millis(7), text.clone()))] {
        follows_its_index(&registers::due_find(Timestamp::from_millis(9), after.as_ref(), 5), &["v"]);
    }
    for (tenant, after) in [(None, None), (Some(&key.tenant), Some(text.as_str()))] {
        let find = registers::list_find(Space::Slots, tenant, after, 5);
        // By `_id`, which needs no index declared here: a range of it, in its order.
        let (mut equal, mut ranges) = (BTreeSet::new(), BTreeSet::new());
        fields(&find.filter, &mut equal, &mut ranges);
        assert_eq!((equal, ranges), (BTreeSet::from(["v".into()]), BTreeSet::from(["_id".into()])));
        assert_eq!(find.sort, rawdoc! { "_id": 1 });
    }
}

#[test]
fn each_list_reads_a_range_of_its_index() {
    let filter = JobFilter {
        states: vec![State::Queued],
        job_type: Some("sleep".parse().expect("a name")),
        queue: Some("q".parse().expect("a name")),
        priority: Some(Priority::Low),
        tag: Some("tag".into()),
        from: Some(Timestamp::from_millis(1)),
        before: Some(Timestamp::from_millis(2)),
    };
    let narrow = ["state", "type", "queue", "priority", "tags"];
    for order in [Order::NewestFirst, Order::OldestFirst, Order::FailedNewestFirst, Order::FailedOldestFirst] {
        for (filter, beside) in [(JobFilter::default(), &[][..]), (filter.clone(), &narrow[..])] {
            for (after, end) in
                [(None, None), (Some(place()), None), (None, Some(place())), (Some(place()), Some(place()))]
            {
                let query = ListQuery {
                    tenant: Tenant::default(),
                    filter: filter.clone(),
                    order,
                    after,
                    limit: 5,
                    scan_limit: 10,
                };
                let path = list::Path::of(order);
                follows_its_index(&path.page_find(&query, end), beside);
                follows_its_index(&path.end_find(&query), &[]);
            }
        }
    }
}

#[test]
fn a_read_beside_its_index_is_found_out() {
    let bad: [(RawDocumentBuf, RawDocumentBuf); 3] = [
        (rawdoc! { "lane": "x" }, rawdoc! {}),
        (rawdoc! { "state": "queued", "lane": "x" }, rawdoc! { "created_at": 1 }),
        (rawdoc! { "state": "queued", "queue": { "$in": RawArrayBuf::new() } }, rawdoc! {}),
    ];
    for (filter, sort) in bad {
        let find = Find { hint: Some("duties"), sort, ..Find::new("jobs", filter) };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| follows_its_index(&find, &[]))).is_err());
    }
}
