//! `Content-Type`: JSON or plain text, in UTF-8.

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};

use crate::problem::{ApiError, Code};

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, or nothing said.
    Json,
    /// `text/plain`.
    Text,
}

/// What the body is said to be.
pub(crate) fn media(headers: &HeaderMap) -> Result<Media, ApiError> {
    let mut sent = headers.get_all(CONTENT_TYPE);
    let media = match (sent.next(), sent.next()) {
        (None, _) => Some(Media::Json),
        (Some(value), None) => value.to_str().ok().and_then(parse),
        (Some(_), Some(_)) => None,
    };
    media.ok_or_else(|| {
        let detail = "Send application/json, or text/plain to POST /api/v1/jobs?type=..., in UTF-8.";
        ApiError::new(Code::UnsupportedMediaType, detail)
    })
}

/// Refuses a body that is said to be anything but JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    match media(headers)? {
        Media::Json => Ok(()),
        Media::Text => Err(ApiError::new(Code::UnsupportedMediaType, "Send application/json in UTF-8.")),
    }
}

fn parse(value: &str) -> Option<Media> {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next()?;
    let media = if essence.eq_ignore_ascii_case("application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case("text/plain") {
        Media::Text
    } else {
        return None;
    };
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        if name.eq_ignore_ascii_case("charset") {
            let charset = value.trim_matches('"');
            // US-ASCII is UTF-8 too.
            if !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
                return None;
            }
        }
    }
    Some(media)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_and_text_in_utf_8_are_taken() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\";",
            "application/json; profile=x",
        ] {
            assert_eq!(parse(json), Some(Media::Json), "{json}");
        }
        assert_eq!(parse("text/plain"), Some(Media::Text));
        assert_eq!(parse("text/plain;charset=us-ascii"), Some(Media::Text));
        for bad in [
            "",
            "json",
            "application/x-www-form-urlencoded",
            "text/html",
            "text/plain; charset=latin1",
            "application/json; x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read(value: String) {
            let _ = parse(&value);
        }
    }
}
