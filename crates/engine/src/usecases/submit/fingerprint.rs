//! What makes two requests the same.

use gristmill_common::{Timestamp, http::JobRequest, job::Priority};
use sha2::{Digest, Sha256};

/// SHA-256 over everything that makes two requests the same, each part with its length. It is kept with the job:
/// another way to compute it would make strangers of requests that an older build has stored.
pub(super) fn fingerprint(request: &JobRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(request.job_type.as_bytes());
    part(request.payload.as_ref().map_or("", |payload| payload.get()).as_bytes());
    part(request.queue.as_deref().unwrap_or("").as_bytes());
    part(request.priority.map_or("", Priority::as_str).as_bytes());
    let moment = |at: Option<Timestamp>| at.map(Timestamp::as_millis).unwrap_or(i64::MIN).to_be_bytes();
    part(&moment(request.run_at));
    part(&moment(request.deadline));
    part(&request.delay_ms.unwrap_or(u64::MAX).to_be_bytes());
    part(&request.max_attempts.unwrap_or(u32::MAX).to_be_bytes());
    part(&request.timeout_ms.unwrap_or(u64::MAX).to_be_bytes());
    part(&request.backoff.and_then(|backoff| serde_json::to_vec(&backoff).ok()).unwrap_or_default());
    for tag in &request.tags {
        part(tag.as_bytes());
    }
    let gates = request.gates();
    if !gates.is_open() {
        // No tag is empty: what comes after is none.
        part(b"");
        part(&serde_json::to_vec(&gates).unwrap_or_default());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_request_is_pinned() {
        let request = serde_json::from_str(
            r#"{"type": "sleep", "payload": {"ms": 1}, "queue": "q", "priority": "high", "delay_ms": 5,
                "max_attempts": 2, "backoff": {"kind": "fixed", "delay_ms": 7}, "timeout_ms": 9,
                "deadline": "2026-11-21T08:00:00Z", "tags": ["a", "b"]}"#,
        )
        .expect("a request");
        let hex: String = fingerprint(&request).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0f258fd0b214f99f97dbcc426b5f9b3af5b51c6196d814e95d34975bb84eb36d");
    }

    #[test]
    fn a_gate_counts_and_is_no_tag() {
        let read = |text: &str| fingerprint(&serde_json::from_str(text).expect("a request"));
        let gated = read(r#"{"type": "sleep", "concurrency": {"key": "a", "limit": 1}}"#);
        assert_ne!(gated, read(r#"{"type": "sleep"}"#));
        assert_ne!(gated, read(r#"{"type": "sleep", "concurrency": {"key": "a", "limit": 2}}"#));
        assert_ne!(gated, read(r#"{"type": "sleep", "tags": ["{\"concurrency\":{\"key\":\"a\",\"limit\":1}}"]}"#));
    }
}
