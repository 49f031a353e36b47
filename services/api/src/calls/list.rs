//! `GET /jobs`: pages of jobs, filtered, sorted and cut in the store.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::{
        StatusCode,
        header::{HeaderValue, LINK},
    },
    web::Data,
};
use gristmill_common::{
    State, Timestamp,
    http::{JobPage, JobView},
};
use gristmill_engine::{JobFilter, ListRequest, Order};
use utoipa::IntoParams;

use super::{Api, Refused, json, text::priority};
use crate::{caller::Caller, problem::ApiError, query::Parameters};

/// For the document: what every list of jobs takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes parameters, and is never made")]
pub(super) struct Common {
    /// A job type
    r#type: Option<String>,
    /// A queue
    queue: Option<String>,
    /// high, normal or low
    priority: Option<String>,
    /// A tag
    tag: Option<String>,
    /// 1 to 500, 50 when it is left out
    limit: Option<usize>,
    /// The page before said so; with the same filters and order
    cursor: Option<String>,
}

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// List jobs
///
/// A page may be shorter than its limit, even empty, while there are more: `next_cursor` says so.
#[utoipa::path(
    tag = "jobs",
    params(
        ("state" = Option<String>, Query, description = "One or more states, separated by commas"),
        ("created_after" = Option<String>, Query, description = "RFC 3339: accepted later than this"),
        ("created_before" = Option<String>, Query, description = "RFC 3339: accepted earlier than this"),
        ("sort" = Option<String>, Query, description = "created_at, or -created_at: the newest first, the default"),
        Common
    ),
    responses(
        (status = 200, description = "A page", body = JobPage,
         headers(("Link" = String, description = "`rel=\"next\"`: the next page, if there is one"))),
        Refused
    )
)]
#[get("/jobs")]
pub(crate) async fn list_jobs(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let mut query = Parameters::of(&request);
    let states = query.read_with("state", states).unwrap_or_default();
    let filter = JobFilter { states, ..filter(&mut query, "created_after", "created_before") };
    let order = order(&mut query, "created_at", Order::OldestFirst, Order::NewestFirst);
    let (limit, cursor) = page(&mut query);
    query.finish()?;
    let list = ListRequest { tenant: caller.tenant, filter, order, cursor, limit };
    answer(&api, &request, list).await
}

/// One page, and the way to the next.
pub(super) async fn answer(api: &Api, request: &HttpRequest, list: ListRequest) -> Result<HttpResponse, ApiError> {
    let (jobs, next_cursor) = api.engine.list(list).await?;
    let link = next_cursor.as_deref().and_then(|cursor| next_link(request, cursor));
    let items = jobs.iter().map(JobView::of).collect();
    let mut answer = json(StatusCode::OK, &JobPage { items, next_cursor })?;
    if let Some(link) = link {
        answer.headers_mut().insert(LINK, link);
    }
    Ok(answer)
}

/// The filters that every list of jobs has.
pub(super) fn filter(query: &mut Parameters, after: &str, before: &str) -> JobFilter {
    JobFilter {
        states: Vec::new(),
        job_type: query.read("type"),
        queue: query.read("queue"),
        priority: query.read_with("priority", priority),
        tag: query.text("tag"),
        // Times are whole milliseconds: later than one is the next one or later.
        from: query.read::<Timestamp>(after).map(|after| after + Duration::from_millis(1)),
        before: query.read(before),
    }
}

/// The order, by the word for the list's clock; the latest first when nothing is said.
pub(super) fn order(query: &mut Parameters, clock: &str, ascending: Order, descending: Order) -> Order {
    let order = query.read_with("sort", |sort| match sort.strip_prefix('-') {
        None if sort == clock => Ok(ascending),
        Some(sort) if sort == clock => Ok(descending),
        _ => Err(format!("must be {clock} or -{clock}")),
    });
    order.unwrap_or(descending)
}

/// How many, and from where.
pub(super) fn page(query: &mut Parameters) -> (usize, Option<String>) {
    let limit = query.read_with("limit", |limit| match limit.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(format!("must be 1 to {MAX_LIMIT}")),
    });
    (limit.unwrap_or(DEFAULT_LIMIT), query.text("cursor"))
}

fn states(words: &str) -> Result<Vec<State>, String> {
    let state = |word| State::ALL.into_iter().find(|state| state.as_str() == word);
    let known = || State::ALL.map(State::as_str).join(", ");
    words.split(',').map(|word| state(word).ok_or_else(|| format!("must be of {}", known()))).collect()
}

/// The same question with another cursor (RFC 8288).
pub(super) fn next_link(request: &HttpRequest, cursor: &str) -> Option<HeaderValue> {
    let mut target = format!("<{}?", request.path());
    for part in request.query_string().split('&') {
        if !part.is_empty() && part.split('=').next() != Some("cursor") {
            target.push_str(part);
            target.push('&');
        }
    }
    HeaderValue::try_from(format!("{target}cursor={cursor}>; rel=\"next\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words_between_commas() {
        assert_eq!(states("failed"), Ok(vec![State::Failed]));
        assert_eq!(states("queued,running"), Ok(vec![State::Queued, State::Running]));
        for bad in ["", "done", "failed,", "Failed", "failed, queued"] {
            assert!(states(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_question() {
        let request = actix_web::test::TestRequest::with_uri("/api/v1/jobs?tag=a%20b&cursor=old&limit=2");
        let link = next_link(&request.to_http_request(), "new").expect("a header");
        assert_eq!(link, "</api/v1/jobs?tag=a%20b&limit=2&cursor=new>; rel=\"next\"");
    }
}
