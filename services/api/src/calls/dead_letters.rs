//! Dead letters, the jobs that failed for good: listed, run again, erased.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, post, web::Data};
use gristmill_common::http::{Discarded, JobPage, ReplayRequest, Replayed};
use gristmill_engine::{ListRequest, Order};

use super::{Api, Refused, json, list, object};
use crate::{
    caller::Caller,
    intake::Intake,
    problem::{ApiError, Code},
    query::Parameters,
};

/// List dead letters
///
/// A dead letter is a failed job; `POST /jobs/{id}/retry` runs it again, and `POST /dead-letters/replay` many.
#[utoipa::path(
    tag = "jobs",
    params(
        ("failed_after" = Option<String>, Query, description = "RFC 3339: failed later than this"),
        ("failed_before" = Option<String>, Query, description = "RFC 3339: failed earlier than this"),
        ("sort" = Option<String>, Query, description = "failed_at, or -failed_at: the latest first, the default"),
        list::Common
    ),
    responses((status = 200, description = "A page", body = JobPage), Refused)
)]
#[get("/dead-letters")]
pub(crate) async fn list_dead_letters(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Parameters::of(&request);
    let filter = list::filter(&mut query, "failed_after", "failed_before");
    let order = list::order(&mut query, "failed_at", Order::FailedOldestFirst, Order::FailedNewestFirst);
    let (limit, cursor) = list::page(&mut query);
    query.finish()?;
    let request_for = ListRequest { tenant: caller.tenant, filter, order, cursor, limit };
    list::answer(&api, &request, request_for).await
}

/// Run dead letters again
///
/// The oldest first, 500 a second. A call that broke off, or that left more, is gone on with by the same call: what runs
/// again is no dead letter any more. Send the `failed_before` of the answer to leave out what has failed again meanwhile.
#[utoipa::path(
    tag = "jobs",
    request_body = ReplayRequest,
    responses((status = 200, description = "How many run again", body = Replayed), Refused)
)]
#[post("/dead-letters/replay")]
pub(crate) async fn replay_dead_letters(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let which: ReplayRequest = object(&api, &request, &intake, Code::InvalidReplay).await?;
    json(StatusCode::OK, &api.engine.replay(&caller.tenant, which).await?)
}

/// Erase dead letters
///
/// The oldest first, 500 a second, with all that belongs to them.
#[utoipa::path(
    tag = "jobs",
    request_body = ReplayRequest,
    responses((status = 200, description = "How many are gone", body = Discarded), Refused)
)]
#[post("/dead-letters/discard")]
pub(crate) async fn discard_dead_letters(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let which: ReplayRequest = object(&api, &request, &intake, Code::InvalidReplay).await?;
    json(StatusCode::OK, &api.engine.discard(&caller.tenant, which).await?)
}
