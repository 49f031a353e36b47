//! Names that people choose: tenants, queues, job types. Parsed once, valid ever after.

use std::{fmt, str::FromStr, sync::Arc};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;

/// The text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z, 0-9, `_`, `-` and `.`, beginning with a letter or digit")]
pub struct InvalidName;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        crate::serde_as_text!($name);
    };
}

name!(
    /// Whose job it is. Part of every job's key; there is only `default` until keys exist.
    Tenant
);
name!(
    /// Where a job waits: declared by configuration or by `PUT /queues/{queue}`, never by a job.
    QueueName
);
name!(
    /// Which handler runs a job, such as `word_count`.
    TypeName
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=MAX_NAME).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "default", "word_count", "0-9.x", &"a".repeat(64)] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "_a", ".a", "a b", "a/b", "é", &"a".repeat(65)] {
            assert_eq!(bad.parse::<QueueName>(), Err(InvalidName), "{bad}");
        }
    }
}
