//! `traceparent` (W3C Trace Context, section 3.2): what is not valid is dropped.

use actix_web::http::header::HeaderMap;

const TRACEPARENT: &str = "traceparent";
/// Version, trace id, parent id and flags, in digits.
const DIGITS: [usize; 4] = [2, 32, 16, 2];
/// A later version may be longer; nobody needs much more.
const LONGEST: usize = 256;

/// The trace that the request belongs to.
pub(crate) fn parent(headers: &HeaderMap) -> Option<String> {
    let mut sent = headers.get_all(TRACEPARENT);
    match (sent.next(), sent.next()) {
        (Some(value), None) => value.to_str().ok().filter(|value| is_valid(value)).map(ToOwned::to_owned),
        _ => None,
    }
}

fn is_valid(value: &str) -> bool {
    let mut parts = value.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().unwrap_or_default();
        let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == digits && is_hex).then_some(part)
    };
    let [version, trace, parent, flags] = DIGITS.map(&mut part);
    let (Some(version), Some(trace), Some(parent), Some(_)) = (version, trace, parent, flags) else { return false };
    let is_whole = parts.next().is_none();
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    version != "ff" && (is_whole || version != "00") && !is_zero(trace) && !is_zero(parent) && value.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_what_the_specification_allows_is_passed_on() {
        assert!(is_valid(GOOD));
        assert!(is_valid(&format!("01{}-what-the-future-may-bring", &GOOD[2..])));
        for bad in [
            String::new(),
            format!("{GOOD}-x"),
            GOOD.to_uppercase(),
            format!("ff{}", &GOOD[2..]),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD[1..].to_owned(),
            format!("01{}-{}", &GOOD[2..], "x".repeat(300)),
        ] {
            assert!(!is_valid(&bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_judged(value: String) {
            let _ = is_valid(&value);
        }
    }
}
