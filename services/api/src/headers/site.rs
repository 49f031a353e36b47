//! Where a browser says that a request comes from.
//!
//! A page of any site can have a browser send a plain `POST` to an address that only the browser's machine reaches,
//! and the server would take it for its user's. Browsers say so in `Sec-Fetch-Site` (Fetch Metadata) and `Origin`
//! (RFC 6454), which no page can change; programs send neither.

use actix_web::http::{
    Method,
    header::{HOST, HeaderMap, HeaderValue, ORIGIN},
};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a page of another site wants something changed.
pub(crate) fn is_foreign_change(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if headers.get_all(SEC_FETCH_SITE).any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        return true;
    }
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    headers.get_all(ORIGIN).any(|origin| !is_of(origin.as_bytes(), host))
}

/// Whether an origin, such as `http://127.0.0.1:8080`, is the server itself. A proxy may serve `https` before it, so
/// the scheme says only which port is meant where none is named. `null`, of a page without an origin, is nobody's.
fn is_of(origin: &[u8], host: Option<&[u8]>) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let Some(Ok(host)) = host.map(std::str::from_utf8) else { return false };
    let (place, port) = match origin.split_once("://") {
        Some(("http", place)) => (place, ":80"),
        Some(("https", place)) => (place, ":443"),
        _ => return false,
    };
    let bare = |text: &'_ str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !place.is_empty() && bare(place) == bare(host)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn is_foreign(method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        is_foreign_change(&method, &headers)
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            for (host, origin) in [
                ("127.0.0.1:8080", "http://evil.example"),
                ("127.0.0.1:8080", "http://127.0.0.1:8081"),
                ("127.0.0.1:8080", "http://127.0.0.1"),
                ("127.0.0.1:8080", "http://127.0.0.1:8080.evil.example"),
                ("127.0.0.1:8080", "null"),
                ("127.0.0.1:8080", ""),
                ("127.0.0.1:8080", "127.0.0.1:8080"),
                ("", "http://"),
                ("jobs.example", "https://jobs.example:80"),
                ("jobs.example", "file://jobs.example"),
            ] {
                assert!(is_foreign(method.clone(), &[("host", host), ("origin", origin)]), "{host} {origin}");
            }
            assert!(is_foreign(method.clone(), &[("host", "a"), ("sec-fetch-site", "cross-site")]));
            assert!(is_foreign(method.clone(), &[("origin", "http://a")]), "without a host");
            let two = [("host", "a"), ("origin", "http://a"), ("origin", "http://b")];
            assert!(is_foreign(method, &two));
        }
    }

    #[test]
    fn programs_and_the_servers_own_pages_do() {
        assert!(!is_foreign(Method::POST, &[("host", "127.0.0.1:8080")]));
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("Jobs.Example", "http://jobs.example"),
            ("jobs.example:80", "http://jobs.example"),
            ("jobs.example", "https://jobs.example"),
            ("jobs.example:443", "https://jobs.example"),
        ] {
            let headers = [("host", host), ("origin", origin), ("sec-fetch-site", "same-origin")];
            assert!(!is_foreign(Method::POST, &headers), "{host} {origin}");
        }
    }

    #[test]
    fn whoever_only_looks_may() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let foreign = [("host", "a"), ("origin", "http://b"), ("sec-fetch-site", "cross-site")];
            assert!(!is_foreign(method, &foreign));
        }
    }
}
