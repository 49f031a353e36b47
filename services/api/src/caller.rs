//! Who calls, and about what: extracted in one place, so that keys can come later without touching a call.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderValue},
};
use gristmill_common::{Tenant, job::JobKey};

use crate::{
    intake::Intake,
    problem::{ApiError, Code},
};

/// The header that carries a request's id, both ways.
pub(crate) const X_REQUEST_ID: &str = "x-request-id";
/// A longer id of a client is not taken over. Bytes.
const LONGEST_ID: usize = 128;

/// Finds a request in the logs: the client's own word for it, or a fresh one.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let own = headers
            .get(X_REQUEST_ID)
            .filter(|id| (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
        own.map_or_else(Self::fresh, |id| Self(id.clone()))
    }

    fn fresh() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = *b"req_00000000000000000000000000000000";
        let bits = fastrand::u128(..);
        for (place, digit) in id[4..].iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (4 * place)) as usize & 15];
        }
        Self(HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("req_0")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// What the gate leaves with a request for those behind it.
pub(crate) struct Exchange {
    pub(crate) request_id: RequestId,
    /// The body, if there is one.
    pub(crate) intake: Option<Intake>,
}

/// Who calls. Everybody is `default` until there are keys.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: Tenant,
    pub(crate) request_id: RequestId,
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let caller = extensions
            .get::<Exchange>()
            .map(|exchange| Self { tenant: Tenant::default(), request_id: exchange.request_id.clone() });
        ready(caller.ok_or_else(ApiError::internal))
    }
}

/// The job that the path names, if it is the caller's to name.
#[derive(Debug, Clone)]
pub(crate) struct NamedJob(pub(crate) JobKey);

impl FromRequest for NamedJob {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload).into_inner();
        let id = request.match_info().get("id").and_then(|id| id.parse().ok());
        ready(caller.and_then(|caller| match id {
            Some(id) => Ok(Self(JobKey { tenant: caller.tenant, id })),
            None => Err(ApiError::new(Code::JobNotFound, "This is not a job's id.")),
        }))
    }
}

impl FromRequest for Intake {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let intake = extensions.get::<Exchange>().and_then(|exchange| exchange.intake.clone());
        ready(Ok(intake.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(sent: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        let name = actix_web::http::header::HeaderName::from_static(X_REQUEST_ID);
        headers.insert(name, HeaderValue::from_bytes(sent).expect("a header"));
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        assert_eq!(id_of(b"abc-1"), "abc-1");
        for bad in [&b""[..], b"a b", b"\xc3\xa9", "x".repeat(129).as_bytes()] {
            assert!(id_of(bad).starts_with("req_"), "{bad:?}");
        }
        assert_ne!(id_of(b""), id_of(b""));
        assert_eq!(id_of(b"").len(), 36);
    }
}
