//! Why a request came to nothing, told so that the next step is clear.

use gristmill_common::http::Problem;
use reqwest::StatusCode;

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address is none.
    #[error("{0:?} is no server address: it must look like http://127.0.0.1:8080")]
    BadAddress(String),
    /// The server's address needs TLS.
    #[error("https:// addresses cannot be used yet: this program has no TLS. Use http://, over a network you trust")]
    NoTls,
    /// Nobody answers there.
    #[error(
        "cannot reach a server at {server}: {reason}\n\
         hint: start one with `gristmill serve`, or name another with --server or GRISTMILL_SERVER"
    )]
    Unreachable {
        /// Where.
        server: String,
        /// Why.
        reason: String,
    },
    /// The connection broke, or the server was silent for too long.
    #[error("the exchange with {server} broke off: {reason}")]
    BrokeOff {
        /// Where.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server refused, and said why.
    #[error("{}", explained(.0))]
    Refused(Box<Problem>),
    /// The server refused, and did not say why.
    #[error("the server answered {status}, and this is not how Gristmill explains itself: {body:?}")]
    Unexplained {
        /// The status.
        status: StatusCode,
        /// How the body begins.
        body: String,
    },
    /// The answer is no job.
    #[error("the server's answer is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// `code: detail`, and a line for each field at fault.
fn explained(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.code, problem.detail);
    for field in &problem.errors {
        let pointer = if field.pointer.is_empty() { "(the whole body)" } else { &field.pointer };
        text.push_str(&format!("\n  {pointer}: {}", field.detail));
    }
    text.push_str(&format!("\n  request: {}", problem.request_id));
    text
}

#[cfg(test)]
mod tests {
    use gristmill_common::http::FieldError;

    use super::*;

    #[test]
    fn a_refusal_is_told_with_every_field() {
        let problem = Problem {
            code: "invalid_payload".to_owned(),
            title: "The payload is invalid".to_owned(),
            status: 422,
            detail: "the payload does not fit the schema of word_count".to_owned(),
            request_id: "req_1".to_owned(),
            errors: vec![FieldError::new("/payload/text", "is missing"), FieldError::new("", "is odd")],
        };
        assert_eq!(
            ClientError::Refused(Box::new(problem)).to_string(),
            "invalid_payload: the payload does not fit the schema of word_count\n  \
             /payload/text: is missing\n  (the whole body): is odd\n  request: req_1"
        );
    }
}
