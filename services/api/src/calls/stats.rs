//! `GET /stats`: how it goes.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, web::Data};
use gristmill_common::http::StatsView;

use super::{Api, Refused, json};
use crate::{caller::Caller, problem::ApiError, query::Parameters};

/// See how it goes
///
/// Counts by state, throughput, waiting and running times.
#[utoipa::path(tag = "platform", responses((status = 200, description = "How it goes", body = StatsView), Refused))]
#[get("/stats")]
pub(crate) async fn get_stats(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let stats = api.engine.stats(&caller.tenant).await?;
    let view = StatsView {
        counts: stats.counts,
        finished_per_second: stats.finished_per_second,
        waiting_ms: stats.waiting_ms,
        running_ms: stats.running_ms,
    };
    json(StatusCode::OK, &view)
}
