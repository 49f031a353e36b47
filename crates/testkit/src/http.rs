//! A client of our HTTP interface for tests: answers whole, and judged in a word.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::DEADLINE;

/// The longest `Prefer: wait` that is used here, in seconds.
const WAIT: u64 = 20;
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A client of one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    url: String,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
    /// Its body, if it is JSON; else null.
    pub json: Value,
}

impl Http {
    /// A client of the server at this address, such as `http://127.0.0.1:34567`, with connections of its own.
    ///
    /// # Panics
    /// There is no client at all.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build();
        let client = client.unwrap_or_else(|error| panic!("no client: {error}"));
        Self { client, url: url.trim_end_matches('/').to_owned() }
    }

    /// A request of a path from the root, such as `/health/live`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A request of a call, such as `/jobs`.
    pub fn call(&self, method: Method, call: &str) -> RequestBuilder {
        self.request(method, &format!("/api/v1{call}"))
    }

    /// What a path from the root says, if there is an answer at all.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        Answer::try_of(self.request(Method::GET, path)).await.ok()
    }

    /// What a call says.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn get(&self, call: &str) -> Answer {
        Answer::of(self.call(Method::GET, call)).await
    }

    /// What a call without a body does.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn send(&self, method: Method, call: &str) -> Answer {
        Answer::of(self.call(method, call)).await
    }

    /// What a call does with this body.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn post(&self, call: &str, body: &Value) -> Answer {
        Answer::of(self.call(Method::POST, call).json(body)).await
    }

    /// Submits a job that must be accepted, and returns its id.
    ///
    /// # Panics
    /// It was not accepted.
    pub async fn submit(&self, job: Value) -> String {
        self.post("/jobs", &job).await.expect(202).id()
    }

    /// A job as it is.
    ///
    /// # Panics
    /// There is no such job.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}")).await.expect(200).json
    }

    /// Waits until the job has ended, and returns it.
    ///
    /// # Panics
    /// It has not in time.
    pub async fn ended(&self, id: &str) -> Value {
        let request = self.call(Method::GET, &format!("/jobs/{id}")).header("Prefer", format!("wait={WAIT}"));
        let job = Answer::of(request).await.expect(200).json;
        assert!(matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")), "it is still {job}");
        job
    }

    /// Waits until the job is in this state, and returns it.
    ///
    /// # Panics
    /// It is not in time.
    pub async fn reached(&self, id: &str, state: &str) -> Value {
        let asked = Instant::now();
        loop {
            let job = self.job(id).await;
            if job["state"] == state {
                return job;
            }
            assert!(asked.elapsed() < DEADLINE, "it is still {job}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What has happened to a job, in single words, oldest first.
    ///
    /// # Panics
    /// There is no such job.
    pub async fn history(&self, id: &str) -> Vec<String> {
        let history = self.get(&format!("/jobs/{id}/history")).await.expect(200);
        history.items().iter().map(|entry| entry["what"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The value of a metric without labels; 0 if it was never set.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = Answer::of(self.request(Method::GET, "/metrics")).await.expect(200).text;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}

impl Answer {
    /// The answer to a request.
    ///
    /// # Panics
    /// There is none.
    pub async fn of(request: RequestBuilder) -> Self {
        match Self::try_of(request).await {
            Ok(answer) => answer,
            Err(error) => panic!("no answer: {error:?}"),
        }
    }

    /// The answer to a request, if there is one.
    ///
    /// # Errors
    /// There is none.
    pub async fn try_of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Self { status, headers, text, json })
    }

    /// It has this status.
    ///
    /// # Panics
    /// It has another.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// It is a problem with this status and code, whole.
    ///
    /// # Panics
    /// It is something else.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["status"], json!(status));
        assert_eq!(self.json["request_id"], json!(self.header("x-request-id")));
        for field in ["title", "detail"] {
            assert!(self.json[field].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            assert!(self.headers.contains_key("retry-after"), "{}", self.text);
        }
        self
    }

    /// It names this field as at fault.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn at(self, pointer: &str) -> Self {
        let errors = self.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(errors.iter().any(|error| error["pointer"] == pointer), "{pointer} is not in {}", self.text);
        self
    }

    /// The job's id.
    ///
    /// # Panics
    /// It is no job.
    #[must_use]
    #[track_caller]
    pub fn id(&self) -> String {
        match self.json["id"].as_str() {
            Some(id) => id.to_owned(),
            None => panic!("no id: {}", self.text),
        }
    }

    /// The items of a list.
    ///
    /// # Panics
    /// It is no list.
    #[must_use]
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self.json["items"].as_array() {
            Some(items) => items,
            None => panic!("no items: {}", self.text),
        }
    }

    /// A header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
