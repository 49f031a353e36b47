//! Which instants a pattern names on the days when clocks are changed, and which patterns are none.

use std::time::Instant;

use gristmill_common::schedule::{Cron, InvalidCron};

use crate::{GRACE, at, cron, record, zone};

/// Fires after the first moment, just so up to the last one named.
fn fires(zone_name: &str, pattern: &str, after: &str, expected: &[&str]) {
    let found = cron(pattern).instants_after(at(after), &zone(zone_name)).take(expected.len()).collect::<Vec<_>>();
    let expected = expected.iter().map(|text| at(text)).collect::<Vec<_>>();
    assert_eq!(found, expected, "`{pattern}` in {zone_name} after {after}");
}

#[test]
fn in_universal_time_nothing_is_skipped_or_doubled() {
    fires("UTC", "30 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"]);
    fires("UTC", "0 0 29 2 *", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    fires(
        "UTC",
        "*/20 * * * * *",
        "2026-01-01T00:00:01Z",
        &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01:00Z"],
    );
    fires("UTC", "@weekly", "2026-11-21T12:00:00Z", &["2026-11-22T00:00:00Z"]);
    fires("UTC", "0 9 L * *", "2028-02-01T00:00:00Z", &["2028-02-29T09:00:00Z", "2028-03-31T09:00:00Z"]);
    // The working day closest to the 31st is never in another month, and a month without one has none.
    fires("UTC", "0 9 31W * *", "2026-01-01T00:00:00Z", &["2026-01-30T09:00:00Z", "2026-03-31T09:00:00Z"]);
    // Either days field will do, or both with a plus.
    fires("UTC", "0 9 * jul,nov friL", "2026-07-02T00:00:00Z", &["2026-07-31T09:00:00Z", "2026-11-27T09:00:00Z"]);
    fires("UTC", "0 9 ? * MON-WED#2", "2026-11-01T00:00:00Z", &["2026-11-09T09:00:00Z"]);
    fires("UTC", "0 9 LW * *", "2026-10-01T00:00:00Z", &["2026-10-30T09:00:00Z"]);
    fires("UTC", "0 9 13 * FRI", "2026-11-01T00:00:00Z", &["2026-11-06T09:00:00Z", "2026-11-13T09:00:00Z"]);
    fires("UTC", "0 9 13 * +FRI", "2026-11-14T00:00:00Z", &["2027-08-13T09:00:00Z"]);
    // The instant itself is not after itself; a millisecond before, it is.
    fires("UTC", "0 9 * * *", "2026-11-21T09:00:00Z", &["2026-11-22T09:00:00Z"]);
    fires("UTC", "0 9 * * *", "2026-11-21T08:59:59.999Z", &["2026-11-21T09:00:00Z"]);
    fires("UTC", "0 9 * * *", "2026-11-21T08:59:59Z", &["2026-11-21T09:00:00Z"]);
}

/// Berlin leaps from 2:00 to 3:00.
#[test]
fn what_the_clock_leaps_over_in_spring() {
    let berlin = |pattern, expected: &[&str]| fires("Europe/Berlin", pattern, "2026-03-28T12:00:00+01:00", expected);
    berlin("30 1 * * *", &["2026-03-29T01:30:00+01:00", "2026-03-30T01:30:00+02:00"]);
    berlin("30 2 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
    berlin("0 2 29 3 *", &["2026-03-29T03:00:00+02:00", "2027-03-29T02:00:00+02:00"]);
    berlin("0 3 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T03:00:00+02:00"]);
    // Those that fall together fire once.
    berlin("0 2,3 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T03:00:00+02:00"]);
    berlin("*/20 2 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]);
    berlin("30 2,3 * * *", &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"]);
    fires(
        "Europe/Berlin",
        "30 * * * *",
        "2026-03-29T00:45:00+01:00",
        &["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00"],
    );
    fires(
        "America/New_York",
        "30 2 * * *",
        "2026-03-08T00:00:00-05:00",
        &["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
    );
    fires(
        "America/New_York",
        "0 */2 * * *",
        "2026-03-08T00:00:00-05:00",
        &["2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"],
    );
    fires(
        "America/New_York",
        "0 * * * *",
        "2026-03-08T00:30:00-05:00",
        &["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"],
    );
}

/// Berlin shows 2:00 to 3:00 twice.
#[test]
fn what_the_clock_shows_twice_in_autumn() {
    let berlin = |pattern, expected: &[&str]| fires("Europe/Berlin", pattern, "2026-10-25T00:00:00+02:00", expected);
    berlin("30 2 * * *", &["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    berlin("0 2,3 * * *", &["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00", "2026-10-26T02:00:00+01:00"]);
    berlin("*/30 2 * * *", &["2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:00:00+01:00"]);
    berlin(
        "0 * * * *",
        &[
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    // From within the second showing.
    let second = |pattern, expected: &[&str]| fires("Europe/Berlin", pattern, "2026-10-25T02:10:00+01:00", expected);
    second("30 2 * * *", &["2026-10-26T02:30:00+01:00"]);
    second("*/30 * * * *", &["2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"]);
    fires(
        "America/New_York",
        "30 1 * * *",
        "2026-11-01T00:00:00-04:00",
        &["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
    );
    fires(
        "America/New_York",
        "30 * * * *",
        "2026-11-01T01:00:00-04:00",
        &["2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-01T02:30:00-05:00"],
    );
}

/// Lord Howe moves its clock by half an hour: to 2:30 in October, back to 1:30 in April.
#[test]
fn a_clock_that_is_moved_by_half_an_hour() {
    let howe = |pattern, after, expected: &[&str]| fires("Australia/Lord_Howe", pattern, after, expected);
    howe("15 2 * * *", "2026-10-04T00:00:00+10:30", &["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]);
    howe("45 2 * * *", "2026-10-04T00:00:00+10:30", &["2026-10-04T02:45:00+11:00"]);
    howe(
        "0,30 * * * *",
        "2026-10-04T01:15:00+10:30",
        &["2026-10-04T01:30:00+10:30", "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00"],
    );
    howe("45 1 * * *", "2026-04-05T00:00:00+11:00", &["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]);
    howe(
        "*/15 * * * *",
        "2026-04-05T01:20:00+11:00",
        &[
            "2026-04-05T01:30:00+11:00",
            "2026-04-05T01:45:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T01:45:00+10:30",
            "2026-04-05T02:00:00+10:30",
        ],
    );
}

/// Apia had no 30 December 2011: it leapt from the end of the 29th, at -10:00, to the beginning of the 31st, at +14:00.
#[test]
fn a_day_that_is_skipped() {
    let apia = |pattern, expected: &[&str]| fires("Pacific/Apia", pattern, "2011-12-29T11:30:00-10:00", expected);
    apia("0 12 * * *", &["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]);
    apia("0 12 30 * *", &["2011-12-31T00:00:00+14:00", "2012-01-30T12:00:00+14:00"]);
    apia("0 6,12,18 30 * *", &["2011-12-31T00:00:00+14:00", "2012-01-30T06:00:00+14:00"]);
    apia("0 0 * * *", &["2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]);
    apia("0 * 30 12 *", &["2012-12-30T00:00:00+14:00"]);
    fires(
        "Pacific/Apia",
        "30 * * * *",
        "2011-12-29T23:00:00-10:00",
        &["2011-12-29T23:30:00-10:00", "2011-12-31T00:30:00+14:00"],
    );
}

/// In Santiago and Beirut it is midnight that is leapt over.
#[test]
fn a_midnight_that_is_leapt_over() {
    fires(
        "Asia/Beirut",
        "0 0 * * *",
        "2026-03-28T12:00:00+02:00",
        &["2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"],
    );
    fires("America/Santiago", "0 0 6 9 *", "2026-09-01T00:00:00-04:00", &["2026-09-06T01:00:00-03:00"]);
}

#[test]
fn patterns_that_are_none_or_never_fire_are_refused() {
    for bad in [
        "",
        "x",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "0 0 32 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "@reboot",
        "@every 1h",
        "é * * * *",
        "0 0 * * MON#6",
        "1,,2 * * * *",
        "-1 * * * *",
        "99999999999999999999 * * * *",
        "0 0 0/5 * *",
        "0 0 * * SUNMON",
        "0 0 1 1JAN *",
        "1, * * * *",
        "/5 * * * *",
    ] {
        let refused = bad.parse::<Cron>().expect_err(bad);
        assert!(matches!(refused, InvalidCron::Malformed(_)), "{bad}: {refused}");
    }
    for never in
        ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 0 30 FEB *", "0 0 30W 2 *", "* * * 30 2 +MON#1", "0 0 1 * +MON#5"]
    {
        assert_eq!(never.parse::<Cron>(), Err(InvalidCron::NeverFires), "{never}");
    }
    assert_eq!("* ".repeat(200).parse::<Cron>(), Err(InvalidCron::TooLong));
    // Every 28 years or more, but they come.
    fires("UTC", "0 0 29 2 +MON", "2026-01-01T00:00:00Z", &["2044-02-29T00:00:00Z"]);
    fires("UTC", "0 0 29 2 +MON", "2072-03-01T00:00:00Z", &["2112-02-29T00:00:00Z"]);
}

/// A search that finds nothing, or little, is bounded: by 400 years, or by what is counted. In a build that is not
/// optimised the longest of these take a tenth of a second.
#[test]
fn the_worst_patterns_are_soon_done_with() {
    let begun = Instant::now();
    for never in ["0 0 31 2,4,6,9,11 *", "0 0 1 * +MON#5", "* * * 2-7 * +MON#1L,MON#5"] {
        assert!(never.parse::<Cron>().is_err(), "{never}");
    }
    for sparse in ["* * 29 2 +MON", "0 2 29 2 +MON", "0 0 29W 2 +MON"] {
        assert!(cron(sparse).next_after(at("2072-03-01T00:00:00Z"), &zone("Europe/Berlin")).is_some());
    }
    for dense in ["* * * * * *", "* * 2 * * *", "*/5 * * * *"] {
        let record = record(dense, "Europe/Berlin", at("2025-01-01T00:00:00Z"));
        assert_eq!(record.firings(at("2026-01-01T00:00:00Z"), GRACE).instants.len(), 100);
    }
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}
