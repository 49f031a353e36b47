//! `GET /dead-letters`: jobs that failed for good, the latest first.

use actix_web::{HttpRequest, HttpResponse, get, web::Data};
use gristmill_common::http::JobPage;
use gristmill_engine::{ListRequest, Order};

use super::{Api, Refused, list};
use crate::{caller::Caller, problem::ApiError, query::Parameters};

/// List dead letters
///
/// A dead letter is a failed job; `POST /jobs/{id}/retry` runs it again.
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
