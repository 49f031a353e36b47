//! A job whose text is the request's body: handed on piece by piece, never whole in memory.

use std::{pin::pin, time::Duration};

use actix_web::HttpRequest;
use gristmill_common::{
    http::JobRequest,
    job::{Job, Priority},
};
use gristmill_engine::{Origin, TextPart};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Api;
use crate::{
    intake::{Intake, check_length},
    json::{self, BadJson},
    problem::ApiError,
    query::Parameters,
};

/// How many pieces may wait for the store.
const PIECES_AHEAD: usize = 4;

/// Takes in a text.
pub(super) async fn submit(api: &Api, origin: Origin, request: &HttpRequest, intake: &Intake) -> Result<Job, ApiError> {
    let fields = fields(Parameters::of(request))?;
    check_length(request.headers(), api.config.max_text_bytes)?;
    let (parts, received) = mpsc::channel(PIECES_AHEAD);
    let mut submission = pin!(api.engine.submit_text(origin, fields, received));
    let outcome = tokio::select! {
        // It may refuse the fields, or the text so far, before the text has come.
        outcome = &mut submission => outcome,
        pumped = pump(intake, parts, api.config.body_timeout) => {
            // A pump that failed has closed the channel: what was kept of the text is dropped before the answer.
            let outcome = submission.await;
            pumped?;
            outcome
        }
    };
    outcome.map_err(|error| ApiError::from(error).in_query())
}

async fn pump(intake: &Intake, parts: mpsc::Sender<TextPart>, patience: Duration) -> Result<(), ApiError> {
    while let Some(piece) = intake.next(patience).await? {
        if parts.send(TextPart::Chunk(piece)).await.is_err() {
            // The submission has ended, and says why.
            return Ok(());
        }
    }
    let _ = parts.send(TextPart::End).await;
    Ok(())
}

fn fields(mut query: Parameters) -> Result<JobRequest, ApiError> {
    let job_type = query.text("type");
    if job_type.is_none() {
        query.refuse("type", "must name the job type, once");
    }
    let fields = JobRequest {
        job_type: job_type.unwrap_or_default(),
        payload: query.read_with("payload", object),
        queue: query.text("queue"),
        priority: query.read_with("priority", priority),
        run_at: query.read("run_at"),
        delay_ms: query.number("delay_ms"),
        max_attempts: query.number("max_attempts"),
        backoff: query.read_with("backoff", object),
        timeout_ms: query.number("timeout_ms"),
        deadline: query.read("deadline"),
        tags: tags(&mut query),
        unique: query.read_with("unique", object),
        // A text cannot take the place of another.
        debounce: None,
        concurrency: query.read_with("concurrency", object),
        rate_limit: query.read_with("rate_limit", object),
    };
    query.finish()?;
    Ok(fields)
}

fn tags(query: &mut Parameters) -> Vec<String> {
    query.all("tags").iter().flat_map(|list| list.split(',')).map(|tag| tag.trim().to_owned()).collect()
}

/// A JSON object within a parameter.
fn object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    json::read(text.as_bytes()).map_err(|bad| match bad {
        BadJson::Malformed(detail) => format!("is not strict JSON: {detail}"),
        BadJson::TooDeep => format!("has more than {} levels", json::MAX_DEPTH),
        BadJson::Wrong(errors) => {
            errors.into_iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect()
        }
    })
}

/// One of the bands.
pub(super) fn priority(word: &str) -> Result<Priority, String> {
    let found = Priority::ALL.into_iter().find(|priority| priority.as_str() == word);
    found.ok_or_else(|| "must be high, normal or low".to_owned())
}
