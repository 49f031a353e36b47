//! Holds the queries to the indexes that they were written for.

use rusqlite::Connection;

use super::{archive, jobs_read, list, registers, schema};
use crate::Order;

/// How SQLite means to carry a query out.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the query is valid");
    // What the parameters are does not matter to the plan; unbound they are NULL.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().expect("a step") {
        steps.push(row.get("detail").expect("a text"));
    }
    steps
}

#[test]
fn each_range_is_sought_in_its_index_and_never_sorted() {
    let folder = tempfile::tempdir().expect("a folder");
    let conn = schema::prepare(&folder.path().join("gristmill.db")).expect("a database");
    let duties = "SEARCH jobs USING INDEX jobs_duties (state=? AND lane=? AND (wake_at,id)>(?,?) AND wake_at<?)";
    assert_eq!(plan(&conn, jobs_read::DUE), [duties]);
    let counted = "SEARCH jobs USING COVERING INDEX jobs_duties (state=? AND lane=? AND wake_at>?)";
    assert_eq!(plan(&conn, jobs_read::COUNT_FROM), [counted]);
    let deadline = "SEARCH jobs USING INDEX jobs_deadline (deadline>? AND deadline<?)";
    assert_eq!(plan(&conn, jobs_read::OVERDUE), [deadline]);
    let lanes = "SEARCH jobs USING COVERING INDEX jobs_duties (state=? AND lane>?)";
    assert_eq!(plan(&conn, jobs_read::NEXT_LANE), [lanes]);
    let queue = "SEARCH jobs USING INDEX jobs_duties (state=? AND lane>? AND lane<?)";
    assert!(plan(&conn, jobs_read::OLDEST_WAITING).contains(&queue.to_owned()));
    let keys = "SEARCH jobs USING INDEX jobs_key ((tenant,id)>(?,?))";
    assert_eq!(plan(&conn, archive::WALK), [keys]);
    let due = "SEARCH registers USING INDEX registers_due ((due_at,key)>(?,?) AND due_at<?)";
    assert_eq!(plan(&conn, registers::DUE), [due]);
    let names = "SEARCH registers USING PRIMARY KEY (key>? AND key<?)";
    assert_eq!(plan(&conn, registers::LIST), [names]);
    assert_eq!(plan(&conn, registers::FIND), ["SEARCH registers USING PRIMARY KEY (key=?)"]);
    for (order, index, clock) in [
        (Order::NewestFirst, "jobs_accepted", "created_at"),
        (Order::OldestFirst, "jobs_accepted", "created_at"),
        (Order::FailedNewestFirst, "jobs_failed", "failed_at"),
        (Order::FailedOldestFirst, "jobs_failed", "failed_at"),
    ] {
        let range = format!("SEARCH jobs USING INDEX {index} (tenant=? AND ({clock},id)>(?,?) AND ({clock},id)<(?,?))");
        assert_eq!(plan(&conn, list::scan_sql(order)), [range]);
    }
}
