//! Identifiers: a prefix that says what is named, and 128 bits as 26 lower-case Crockford characters.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Timestamp;

/// Crockford's base 32, lower case: no `i`, `l`, `o`, `u`.
/// Source: <https://www.crockford.com/base32.html>.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id: expected `{prefix}_` and 26 lower-case base-32 characters")]
pub struct InvalidId {
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh UUIDv7 (RFC 9562, section 5.7): ids made later sort later.
            #[must_use]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of these 128 bits.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 128 bits, as the stores keep them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(std::str::from_utf8(&encode(self.0.as_u128())).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|bits| Self(Uuid::from_u128(bits)))
                    .ok_or(InvalidId { kind: $kind, prefix: $prefix })
            }
        }

        crate::serde_as_text!($name);
    };
}

id!(
    /// Names a job: `job_` and 26 characters.
    JobId, "job", "job"
);
id!(
    /// Names one claim of a batch of jobs by one worker. Made by the claimer, never reused.
    LeaseId, "lease", "lease"
);
id!(
    /// Names one run of one worker process: fresh at each start.
    WorkerId, "worker", "wrk"
);
id!(
    /// Names a body too large to live beside its job.
    BlobId, "blob", "blob"
);
id!(
    /// Names a schedule from its making to its deletion.
    ScheduleId, "schedule", "sch"
);

/// Stands where an idempotency key's id has the length of its tenant, which is never so long: what is hashed for a
/// schedule is never what is hashed for a key.
const NO_TENANT_LENGTH: [u8; 8] = [0xff; 8];

impl JobId {
    /// The id that an idempotency key stands for: a UUIDv8 (RFC 9562, section 5.8) from SHA-256 over the
    /// length-prefixed tenant, key, and place in the batch. The same key always names the same job, so the
    /// primary key is the only uniqueness that a submission needs.
    #[must_use]
    pub fn from_idempotency_key(tenant: &str, key: &str, place_in_batch: Option<u32>) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant.as_bytes(), key.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        if let Some(place) = place_in_batch {
            hash.update(place.to_be_bytes());
        }
        Self::from_hash(hash)
    }

    /// The id of the job that a schedule makes at one instant: a UUIDv8 from SHA-256, as for idempotency keys, and
    /// never one of theirs. Whoever fires the instant names the same job, so it is made once.
    #[must_use]
    pub fn from_schedule(schedule: ScheduleId, instant: Timestamp) -> Self {
        let mut hash = Sha256::new();
        hash.update(NO_TENANT_LENGTH);
        hash.update(b"schedule");
        hash.update(schedule.as_bytes());
        hash.update(instant.as_millis().to_be_bytes());
        Self::from_hash(hash)
    }

    fn from_hash(hash: Sha256) -> Self {
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl BlobId {
    /// When this blob was begun: the millisecond in its UUIDv7.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.as_bytes()[..6]);
        Timestamp::from_millis(i64::from_be_bytes(bytes))
    }
}

fn encode(mut bits: u128) -> [u8; DIGITS] {
    let mut text = [b'0'; DIGITS];
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text
}

fn decode(text: &str) -> Option<u128> {
    // 26 digits hold 130 bits: the first may only be 0 to 7.
    if text.len() != DIGITS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |bits, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        Some(bits << 5 | digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_bits_are_the_same_id(bytes: [u8; 16]) {
            let id = JobId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
            prop_assert_eq!(id.to_string().len(), 30);
        }

        #[test]
        fn text_sorts_as_the_bits_do(a: [u8; 16], b: [u8; 16]) {
            let (a, b) = (JobId::from_bytes(a), JobId::from_bytes(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_text_is_an_id_or_an_error(text: String) {
            if let Ok(id) = text.parse::<JobId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "job_",
            "job_0",
            "wrk_00000000000000000000000000",
            "job_80000000000000000000000000",
            "job_0000000000000000000000000I",
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_parts_of_an_idempotency_key_cannot_be_shifted_into_each_other() {
        let id = |tenant, key, place| JobId::from_idempotency_key(tenant, key, place);
        assert_eq!(id("a", "bc", None), id("a", "bc", None));
        assert_ne!(id("a", "bc", None), id("ab", "c", None));
        assert_ne!(id("a", "bc", None), id("a", "bc", Some(0)));
        assert_ne!(id("a", "bc", Some(1)), id("a", "bc", Some(0)));
    }

    /// Another id for a firing would make it twice while two builds are running, so it is pinned.
    #[test]
    fn the_id_of_a_firing_is_always_the_same() {
        let schedule = ScheduleId::from_bytes([7; 16]);
        let id = JobId::from_schedule(schedule, Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(id.to_string(), "job_1nsg3n2ynwgnbswckczr3msmwm");
        assert_eq!(id.as_bytes()[6] >> 4, 8, "a UUIDv8");
        assert_ne!(id, JobId::from_schedule(schedule, Timestamp::from_millis(1_700_000_001_000)));
        assert_ne!(
            id,
            JobId::from_schedule(ScheduleId::from_bytes([8; 16]), Timestamp::from_millis(1_700_000_000_000))
        );
    }
}
