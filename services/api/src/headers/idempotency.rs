//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a quoted string, or the bare key.

use actix_web::http::header::HeaderMap;

use crate::problem::{ApiError, Code};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest key, in bytes.
const LONGEST: usize = 255;

/// The key, if there is one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY);
    let key = match (sent.next(), sent.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse),
        (Some(_), Some(_)) => None,
    };
    key.map(Some).ok_or_else(|| {
        let detail = "Send one Idempotency-Key of 1 to 255 visible ASCII characters, quoted or bare.";
        ApiError::new(Code::InvalidIdempotencyKey, detail)
    })
}

fn parse(value: &str) -> Option<String> {
    let value = value.trim();
    let key = match value.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => value.to_owned(),
    };
    let is_key = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    is_key.then_some(key)
}

/// The content of a quoted string (RFC 8941, section 3.3.3), its opening quote taken off.
fn unquote(quoted: &str) -> Option<String> {
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => key.push(letters.next().filter(|letter| matches!(letter, '"' | '\\'))?),
            letter => key.push(letter),
        }
    }
    letters.as_str().is_empty().then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_the_same_quoted_or_bare() {
        assert_eq!(parse("abc-1"), parse("\"abc-1\""));
        assert_eq!(parse(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(parse(&"k".repeat(255)).map(|key| key.len()), Some(255));
        for bad in ["", "\"\"", "\"abc", "\"a\"b", "a b", "\"a b\"", "é", "\"\\n\"", &"k".repeat(256)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_a_key_or_none(value: String) {
            if let Some(key) = parse(&value) {
                prop_assert!((1..=LONGEST).contains(&key.len()));
            }
        }
    }
}
