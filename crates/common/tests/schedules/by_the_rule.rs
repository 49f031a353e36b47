//! Properties: a pattern fires by the rule, and whoever asks when, nothing is lost or doubled.

use std::time::Duration;

use gristmill_common::{
    Timestamp,
    schedule::{CATCH_UP, Cron, Missed, ScheduleRecord},
};
use jiff::civil::DateTime;
use proptest::prelude::*;

use crate::{GRACE, at, cron, record, zone};

/// A field of a pattern: any value, or some.
fn field(values: std::ops::RangeInclusive<i8>) -> impl Strategy<Value = Option<Vec<i8>>> {
    prop_oneof![1 => Just(None), 2 => prop::collection::vec(values, 1..4).prop_map(Some)]
}

fn written(field: &Option<Vec<i8>>) -> String {
    let Some(values) = field else { return "*".into() };
    values.iter().map(i8::to_string).collect::<Vec<_>>().join(",")
}

fn holds(field: &Option<Vec<i8>>, value: i8) -> bool {
    field.as_ref().is_none_or(|values| values.contains(&value))
}

/// Days on which clocks are changed, or not.
const DAYS: [(&str, &str); 9] = [
    ("UTC", "2026-03-28T00:00:00Z"),
    ("Europe/Berlin", "2026-03-28T00:00:00+01:00"),
    ("Europe/Berlin", "2026-10-24T00:00:00+02:00"),
    ("America/New_York", "2026-03-07T00:00:00-05:00"),
    ("America/New_York", "2026-10-31T00:00:00-04:00"),
    ("Australia/Lord_Howe", "2026-04-04T00:00:00+11:00"),
    ("Australia/Lord_Howe", "2026-10-03T00:00:00+10:30"),
    ("Pacific/Apia", "2011-12-29T00:00:00-10:00"),
    ("Asia/Beirut", "2026-10-24T12:00:00+03:00"),
];

const MINUTE: Duration = Duration::from_secs(60);
const DAY_MINUTES: usize = 24 * 60;

/// What the rule says, minute by minute: an oracle that knows neither croner nor the walk.
fn by_the_rule(matches: impl Fn(DateTime) -> bool, hourly: bool, zone_name: &str, begin: Timestamp) -> Vec<Timestamp> {
    let rules = jiff::tz::TimeZoneDatabase::bundled().get(zone_name).expect("a time zone");
    let shows =
        |moment: Timestamp| rules.to_datetime(jiff::Timestamp::from_millisecond(moment.as_millis()).expect("a moment"));
    let moments = (0..=3 * DAY_MINUTES as u32).map(|minutes| begin + MINUTE * minutes).collect::<Vec<_>>();
    if hourly {
        return moments.into_iter().filter(|&moment| matches(shows(moment))).collect();
    }
    let shown = moments.iter().map(|&moment| shows(moment)).collect::<Vec<_>>();
    let (mut on_the_wall, end) = (shown[0], *shown.last().expect("moments"));
    let mut instants = Vec::new();
    while on_the_wall <= end {
        if matches(on_the_wall) {
            // The first moment that shows it, or the first after a leap over it.
            let first = shown.iter().position(|&shown| shown == on_the_wall);
            let moment = first.or_else(|| shown.iter().position(|&shown| shown > on_the_wall)).expect("a moment");
            if instants.last() != Some(&moments[moment]) {
                instants.push(moments[moment]);
            }
        }
        on_the_wall = on_the_wall.checked_add(jiff::SignedDuration::from_mins(1)).expect("a time");
    }
    instants
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Over three days around a change of the clock, just those instants fire that the rule names.
    #[test]
    fn a_pattern_fires_by_the_rule(
        (zone_name, begin) in prop::sample::select(&DAYS[..]),
        minutes in field(0..=59),
        hours in prop_oneof![Just(None), field(0..=4), field(0..=23)],
        days in field(1..=31),
    ) {
        let begin = at(begin);
        let pattern = cron(&format!("{} {} {} * *", written(&minutes), written(&hours), written(&days)));
        let matches = |shown: DateTime| {
            holds(&minutes, shown.minute()) && holds(&hours, shown.hour()) && holds(&days, shown.day())
        };
        let end = begin + MINUTE * (2 * DAY_MINUTES as u32);
        let expected = by_the_rule(matches, hours.is_none(), zone_name, begin);
        let expected = expected.into_iter().filter(|&instant| instant <= end).collect::<Vec<_>>();
        let found = pattern
            .instants_after(begin - Duration::from_millis(1), &zone(zone_name))
            .take_while(|&instant| instant <= end)
            .collect::<Vec<_>>();
        prop_assert_eq!(found, expected);
    }

    /// Whenever it is asked, no instant is lost or doubled, they strictly rise, and the next is after now.
    #[test]
    fn nothing_is_lost_or_doubled_whenever_it_is_asked(
        (zone_name, begin) in prop::sample::select(&DAYS[..]),
        pattern in prop::sample::select(&["*/7 * * * *", "13 2 * * *", "0 0,2,3 * * *", "*/40 1-3 * * *", "30 15 3 * * *"][..]),
        waits in prop::collection::vec(prop_oneof![0..90_000u64, 0..9_000_000u64], 1..40),
        missed in prop::sample::select(&[Missed::Skip, Missed::FireOnce, Missed::FireAll][..]),
    ) {
        let begin = at(begin);
        let mut record = ScheduleRecord { missed, ..record(pattern, zone_name, begin) };
        let (mut now, mut fired, mut let_go) = (begin, Vec::new(), 0);
        for wait in waits {
            now = now + Duration::from_millis(wait);
            prop_assert!(record.due_at().is_some_and(|due| due > record.fired_through));
            let firings = record.firings(now, GRACE);
            prop_assert!(firings.next.is_some_and(|next| next > now));
            prop_assert!(firings.instants.iter().all(|&instant| instant <= now));
            prop_assert!(firings.instants.len() <= CATCH_UP);
            fired.extend(&firings.instants);
            let_go += firings.missed_count;
            record.advance(&firings, None);
            prop_assert_eq!(record.due_at(), firings.next);
        }
        let all = record.cron.instants_after(begin, &record.time_zone).take_while(|&instant| instant <= now).collect::<Vec<_>>();
        prop_assert!(fired.is_sorted_by(|one, next| one < next));
        prop_assert!(fired.iter().all(|instant| all.contains(instant)));
        prop_assert_eq!(fired.len() as u64 + let_go, all.len() as u64);
        if missed == Missed::FireAll {
            prop_assert_eq!(fired, all);
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "([0-9*/,LW#+?@A-Z -]{0,40}|.{0,300})", after in 0..4_000_000_000_000i64) {
        if let Ok(pattern) = text.parse::<Cron>() {
            let after = Timestamp::from_millis(after);
            let next = pattern.next_after(after, &zone("Europe/Berlin"));
            prop_assert!(next.is_some_and(|next| next > after), "{:?}", text);
        }
    }
}
