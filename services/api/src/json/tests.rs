use gristmill_common::http::{BatchRequest, JobRequest};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

fn wrong(body: &str) -> FieldError {
    match read::<JobRequest>(body.as_bytes()) {
        Err(BadJson::Wrong(mut errors)) => errors.remove(0),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn a_job_is_read_and_its_payload_left_as_it_was_sent() {
    let body = r#" {"type": "word_count", "payload": {"text" :  "a", "n": 1.0e0}, "tags": ["x"], "backoff": {"kind": "none"}} "#;
    let job = read::<JobRequest>(body.as_bytes()).expect("a job");
    assert_eq!(job.payload.expect("a payload").get(), r#"{"text" :  "a", "n": 1.0e0}"#);
}

#[test]
fn what_is_no_json_is_malformed() {
    for bad in
        ["", " ", "{", "nul", "{}x", "{\"a\":1,}", "[1 2]", "\u{feff}{}", "'a'", "{\"a\":\"\\ud800\"}", "01", "\"\n\""]
    {
        assert!(matches!(check(bad), Err(BadJson::Malformed(_))), "{bad}");
    }
    assert!(matches!(read::<JobRequest>(b"{\"type\": \"\xff\"}"), Err(BadJson::Malformed(_))));
}

#[test]
fn keys_come_once_whatever_way_they_are_written() {
    for bad in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":[],"c":{"d":1},"b":0}}]"#, r#"{"":1,"":2}"#]
    {
        let Err(BadJson::Malformed(detail)) = check(bad) else { panic!("{bad}") };
        assert!(detail.contains("duplicate key"), "{detail}");
    }
    assert_eq!(check(r#"{"a":{"a":{"a":1},"b":{"a":1}},"b":[{"a":1},{"a":1}]}"#), Ok(()));
}

#[test]
fn keys_of_large_objects_come_once_too() {
    let object = |keys: &[usize]| {
        let entries: Vec<_> = keys.iter().map(|key| format!("\"k{key}\":{{\"k0\":0}}")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let mut keys: Vec<usize> = (0..200).collect();
    assert_eq!(check(&object(&keys)), Ok(()));
    for twice in [0, FEW_KEYS - 1, FEW_KEYS, FEW_KEYS + 1, 199] {
        keys.push(twice);
        assert!(matches!(check(&object(&keys)), Err(BadJson::Malformed(_))), "{twice}");
        keys.pop();
    }
}

#[test]
fn depth_is_bounded_and_costs_no_stack() {
    assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
    assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(BadJson::TooDeep));
    assert_eq!(check(&nested(100_000)), Err(BadJson::TooDeep));
    assert_eq!(check(&"{\"a\":".repeat(100_000)), Err(BadJson::TooDeep));
}

#[test]
fn what_is_wrong_is_named_with_its_pointer() {
    for (body, pointer, detail) in [
        (r#"{"type":"a","colour":1}"#, "/colour", "not a field"),
        (r#"{"payload":{}}"#, "/type", "is missing"),
        (r#"{"type":1}"#, "/type", "expected a string"),
        (r#"{"type":"a","priority":"urgent"}"#, "/priority", "urgent"),
        (r#"{"type":"a","delay_ms":-1}"#, "/delay_ms", "expected u64"),
        (r#"{"type":"a","run_at":"soon"}"#, "/run_at", "RFC 3339"),
        (r#"{"type":"a","tags":["x",2]}"#, "/tags/1", "expected a string"),
        (r#"{"type":"a","backoff":{"kind":"fixed"}}"#, "/backoff/delay_ms", "is missing"),
        (r#"{"type":"a","backoff":{"kind":"fixed","x/y":1}}"#, "/backoff/x~1y", "not a field"),
        (r#"{"type":"a","max_attempts":4294967296}"#, "/max_attempts", "expected u32"),
        (r#"["a",{}]"#, "", "must be an object"),
        (r#""a""#, "", "must be an object"),
        ("null", "", "must be an object"),
    ] {
        let error = wrong(body);
        assert_eq!(error.pointer, pointer, "{body}: {error:?}");
        assert!(error.detail.contains(detail), "{body}: {error:?}");
    }
}

#[test]
fn the_items_of_a_batch_are_left_for_later() {
    let batch = read::<BatchRequest>(br#"{"jobs":[{"type":1}, 5]}"#).expect("a batch");
    assert_eq!(batch.jobs[1].get(), "5");
    assert!(matches!(read::<BatchRequest>(br#"{"jobs":[{"a":1,"a":2}]}"#), Err(BadJson::Malformed(_))));
}

#[test]
fn messages_repeat_no_more_than_a_little_of_the_input() {
    let long = "x".repeat(1_000_000);
    assert!(wrong(&format!(r#"{{"type":"a","{long}":1}}"#)).pointer.len() < 200);
    assert!(wrong(&format!(r#"{{"type":"a","priority":"{long}"}}"#)).detail.len() < 200);
    let Err(BadJson::Malformed(detail)) = check(&format!(r#"{{"{long}":1,"{long}":1}}"#)) else { panic!("twice") };
    assert!(detail.len() < 200);
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

/// Writes `value` so that one of its objects, the `nth` it comes to, has its first key twice.
fn write_with_a_duplicate(value: &Json, nth: &mut usize, out: &mut String) {
    match value {
        Json::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                write_with_a_duplicate(item, nth, out);
            }
            out.push(']');
        }
        Json::Object(map) if !map.is_empty() => {
            let is_the_one = *nth == 0;
            *nth = nth.wrapping_sub(1);
            out.push('{');
            let mut first = None;
            for (place, (key, item)) in map.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                first.get_or_insert(key);
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                write_with_a_duplicate(item, nth, out);
            }
            if let (true, Some(key)) = (is_the_one, first) {
                out.push_str(&format!(",{}:null", Json::from(key.as_str())));
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn objects(value: &Json) -> usize {
    match value {
        Json::Array(items) => items.iter().map(objects).sum(),
        Json::Object(map) => usize::from(!map.is_empty()) + map.values().map(objects).sum::<usize>(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn json_without_duplicates_is_accepted(value in json()) {
        prop_assert_eq!(check(&value.to_string()), Ok(()));
        prop_assert_eq!(check(&serde_json::to_string_pretty(&value).expect("JSON")), Ok(()));
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(value in json(), at: prop::sample::Index, byte in 0x20u8..0x7f) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(text) = String::from_utf8(text) {
            let judged = check(&text);
            // Damage may make two keys equal: then it is stricter.
            let is_duplicate = matches!(&judged, Err(BadJson::Malformed(detail)) if detail.contains("duplicate key"));
            prop_assert_eq!(judged.is_ok() || is_duplicate, serde_json::from_str::<Json>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn a_duplicate_anywhere_is_refused(value in json(), nth: prop::sample::Index) {
        let count = objects(&value);
        prop_assume!(count > 0);
        let mut text = String::new();
        write_with_a_duplicate(&value, &mut nth.index(count), &mut text);
        prop_assert!(matches!(check(&text), Err(BadJson::Malformed(_))), "{}", text);
    }

    #[test]
    fn any_bytes_are_a_job_or_an_error(bytes: Vec<u8>) {
        let _ = read::<JobRequest>(&bytes);
    }
}
