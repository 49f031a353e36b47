//! The HTTP client of the command line.

mod error;

use std::{error::Error, net::IpAddr, time::Duration};

use gristmill_common::{JobId, http::JobView};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH},
};
use serde_json::value::RawValue;

pub use self::error::ClientError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may be silent. Beyond the longest hold of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

/// A job to submit.
#[derive(Debug)]
pub struct Submission {
    /// A job type of the server.
    pub job_type: String,
    /// What it is to work on.
    pub input: Input,
    /// The server's default when it is left out.
    pub queue: Option<String>,
    /// The server's default when it is left out.
    pub priority: Option<String>,
    /// Not before so many milliseconds have passed.
    pub delay_ms: Option<u64>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The same key never makes a second job.
    pub idempotency_key: Option<String>,
}

/// What a job is to work on.
#[derive(Debug)]
pub enum Input {
    /// JSON, sent as it was given; none sends no payload.
    Payload(Option<Box<RawValue>>),
    /// A text, sent piece by piece.
    Text {
        /// The pieces.
        body: reqwest::Body,
        /// How many bytes, if that is known.
        length: Option<u64>,
    },
}

/// A job as the server told it.
#[derive(Debug)]
pub struct Told {
    /// What was understood.
    pub job: JobView,
    /// What was said, word for word.
    pub text: String,
    /// The version's tag.
    pub etag: Option<String>,
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// The address is none, or needs TLS.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::BadAddress(server.to_owned());
        let base = Url::parse(server.trim_end_matches('/')).map_err(|_| bad())?;
        match base.scheme() {
            "http" if base.has_host() => {}
            "https" => return Err(ClientError::NoTls),
            _ => return Err(bad()),
        }
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
        if is_this_machine(&base) {
            // A proxy of the environment has no way back to this machine.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|_| bad())?;
        Ok(Self { http, base })
    }

    /// Submits a job. The answer means that the server has stored it.
    ///
    /// # Errors
    /// No answer, or a refusal. Without an answer the job may have been stored all the same.
    pub async fn submit(&self, submission: Submission) -> Result<Told, ClientError> {
        let Submission { job_type, input, queue, priority, delay_ms, tags, idempotency_key } = submission;
        let mut request = match input {
            Input::Payload(payload) => {
                let fields = Fields { job_type, payload, queue, priority, delay_ms, tags };
                let body = serde_json::to_vec(&fields)?;
                self.request(Method::POST, "jobs", &[]).header(CONTENT_TYPE, "application/json").body(body)
            }
            Input::Text { body, length } => {
                let delay = delay_ms.map(|delay| delay.to_string());
                let tags = (!tags.is_empty()).then(|| tags.join(","));
                let query = [
                    ("type", Some(job_type)),
                    ("queue", queue),
                    ("priority", priority),
                    ("delay_ms", delay),
                    ("tags", tags),
                ];
                let request = self.request(Method::POST, "jobs", &query);
                let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").body(body);
                match length {
                    Some(length) => request.header(CONTENT_LENGTH, length),
                    None => request,
                }
            }
        };
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        self.told(self.send(request).await?).await
    }

    /// A job as it is.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn job(&self, id: JobId) -> Result<Told, ClientError> {
        let request = self.request(Method::GET, &format!("jobs/{id}"), &[]);
        self.told(self.send(request).await?).await
    }

    /// A job as it is, unless it is still what this tag stands for.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn job_if_changed(&self, id: JobId, etag: &str) -> Result<Option<Told>, ClientError> {
        let request = self.request(Method::GET, &format!("jobs/{id}"), &[]).header(IF_NONE_MATCH, etag);
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(None),
            _ => self.told(response).await.map(Some),
        }
    }

    /// A job's result, piece by piece.
    ///
    /// # Errors
    /// No answer, or a refusal: the job has not finished, or not well.
    pub async fn result(&self, id: JobId) -> Result<ResultBody, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("jobs/{id}/result"), &[])).await?;
        Ok(ResultBody { client: self.clone(), response })
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, Option<String>)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v1/{path}", self.base.path().trim_end_matches('/')));
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.http.request(method, url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body = response.text().await.map_err(|error| self.failure(&error))?;
        Err(match serde_json::from_str(&body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => ClientError::Unexplained { status, body: body.chars().take(200).collect() },
        })
    }

    async fn told(&self, response: Response) -> Result<Told, ClientError> {
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned);
        let text = response.text().await.map_err(|error| self.failure(&error))?;
        Ok(Told { job: serde_json::from_str(&text)?, text, etag })
    }

    fn failure(&self, error: &reqwest::Error) -> ClientError {
        let mut reason: &dyn Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        // The origin only: an address may hold a password.
        let (server, reason) = (self.base.origin().ascii_serialization(), reason.to_string());
        if error.is_connect() {
            ClientError::Unreachable { server, reason }
        } else {
            ClientError::BrokeOff { server, reason }
        }
    }
}

/// A result on its way.
#[derive(Debug)]
pub struct ResultBody {
    client: Client,
    response: Response,
}

impl ResultBody {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        self.response.chunk().await.map_err(|error| self.client.failure(&error))
    }
}

/// The body of `POST /jobs`.
#[derive(serde::Serialize)]
struct Fields {
    #[serde(rename = "type")]
    job_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

fn is_this_machine(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["http://127.0.0.1:8080", "http://localhost/", "http://[::1]:1/prefix/"] {
            assert!(Client::new(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost:8080", "127.0.0.1:8080", "ftp://x", "http://"] {
            assert!(matches!(Client::new(bad), Err(ClientError::BadAddress(_))), "{bad}");
        }
        let message = Client::new("https://example.org").expect_err("no TLS").to_string();
        assert!(message.contains("no TLS"), "{message}");
    }

    #[test]
    fn paths_follow_the_prefix_and_queries_are_escaped() {
        let client = Client::new("http://localhost:1/prefix/").expect("an address");
        let query = [("tags", Some("a b&c".to_owned())), ("queue", None)];
        let request = client.request(Method::GET, "jobs", &query).build().expect("a request");
        assert_eq!(request.url().as_str(), "http://localhost:1/prefix/api/v1/jobs?tags=a+b%26c");
    }

    #[test]
    fn this_machine_is_known() {
        let here = |text| is_this_machine(&Url::parse(text).expect("a URL"));
        assert!(here("http://localhost:1") && here("http://127.9.9.9") && here("http://[::1]:2"));
        assert!(!here("http://example.org") && !here("http://10.0.0.1"));
    }
}
