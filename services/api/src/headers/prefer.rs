//! `Prefer: wait=N` (RFC 7240): what cannot be understood is ignored.

use std::time::Duration;

use actix_web::http::header::HeaderMap;

const PREFER: &str = "prefer";

/// How long the client would rather wait, at most so long. Whole seconds.
pub(crate) fn wait(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    let sent = headers.get_all(PREFER).filter_map(|value| value.to_str().ok());
    sent.flat_map(preferences).find_map(seconds).map(|seconds| Duration::from_secs(seconds).min(longest))
}

/// The parts between commas that stand outside quotes.
fn preferences(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    })
}

/// The seconds of a `wait`; the first that is one counts. Parameters after a semicolon mean nothing to it.
fn seconds(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // A number too large to be held is as good as the longest wait.
    is_number.then(|| value.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(list: &str) -> Option<u64> {
        preferences(list).find_map(seconds)
    }

    #[test]
    fn a_wait_is_found_and_nonsense_ignored() {
        for (list, found) in [
            ("wait=10", Some(10)),
            ("WAIT = 10", Some(10)),
            ("respond-async, wait=10", Some(10)),
            ("wait=\"10\"; foo=bar", Some(10)),
            ("note=\"a, wait=3\", wait=5", Some(5)),
            ("wait=99999999999999999999999", Some(u64::MAX)),
            ("wait=x, wait=4", Some(4)),
            ("wait=0", Some(0)),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("wait", None),
            ("wait=", None),
            ("await=1", None),
            ("", None),
        ] {
            assert_eq!(first(list), found, "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read(list: String) {
            let _ = first(&list);
        }

        #[test]
        fn a_wait_is_found_behind_others(others in prop::collection::vec("[a-v]{1,5}(=\"[a-z,;]{0,5}\")?", 0..4), n: u64) {
            let wait = format!("wait={n}");
            let list = others.iter().map(String::as_str).chain([wait.as_str()]).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(first(&list), Some(n));
        }
    }
}
