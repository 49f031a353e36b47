//! A URL that may hold a password, and never shows it.

use std::fmt;

use serde::Deserialize;

/// Names a backend and where it is. `Debug` and `Display` leave out the user, the password and the query, so
/// that it can be logged; [`ServerUrl::expose`] has it whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerUrl(String);

/// The text is not a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL: a scheme, a colon, and what the backend needs")]
pub struct InvalidUrl;

impl ServerUrl {
    /// The URL with its secrets, for the one who connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        let (scheme, _) = text.split_once(':').ok_or(InvalidUrl)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
        if is_scheme && !text.contains(char::is_control) { Ok(Self(text)) } else { Err(InvalidUrl) }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once(':').unwrap_or_default();
        // The last `@` ends the user's part even when a password holds a `/` or `?` that should have been
        // escaped: rather a word too few than a secret.
        let rest = match rest.rsplit_once('@') {
            Some((user, place)) if user.starts_with("//") => format!("//***@{place}"),
            Some((_, place)) => format!("***@{place}"),
            None => rest.to_owned(),
        };
        match rest.split_once(['?', '#']) {
            Some((place, _)) => write!(f, "{scheme}:{place}?***"),
            None => write!(f, "{scheme}:{rest}"),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        ServerUrl::try_from(text.to_owned()).expect("a URL").to_string()
    }

    #[test]
    fn what_holds_no_secret_is_shown_whole() {
        for plain in ["embedded:", "sqlite://./data", "sqlite:///var/lib/x", "mongodb://a:27017,b:27017/jobs"] {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn secrets_are_left_out() {
        assert_eq!(shown("amqp://user:secret@host:5672/vhost"), "amqp://***@host:5672/vhost");
        assert_eq!(shown("mongodb://u:p/a?s#s@h/db?w=1&tlsCertificateKeyFilePassword=x"), "mongodb://***@h/db?***");
        assert_eq!(shown("user:secret@host"), "user:***@host");
        assert_eq!(shown("mongodb://h/?password=a@b"), "mongodb://***@b");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in ["", "data", "./data", "://x", "9p://x", "/tmp:x", "C:/x", "a b:c", "amqp://a\nb"] {
            assert_eq!(ServerUrl::try_from(bad.to_owned()), Err(InvalidUrl), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_shown(password in "[A-Z/?#:@%]{4,12}[A-Z]") {
            let url = ServerUrl::try_from(format!("amqp://user:{password}@host/x")).expect("a URL");
            prop_assert_eq!(format!("{url} {url:?}"), "amqp://***@host/x amqp://***@host/x");
        }
    }
}
