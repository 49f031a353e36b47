//! `GET /workers`: who works.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, web::Data};
use gristmill_common::{WorkerRecord, http::WorkerView};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Refused, json};
use crate::{problem::ApiError, query::Parameters};

/// Every worker seen lately.
#[derive(Serialize, ToSchema)]
struct Workers {
    /// As they last described themselves.
    items: Vec<WorkerView>,
}

/// List workers
///
/// Those seen in the last half minute.
#[utoipa::path(tag = "platform", responses((status = 200, description = "The workers", body = Workers), Refused))]
#[get("/workers")]
pub(crate) async fn list_workers(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let items = api.engine.workers().await?.into_iter().map(view).collect();
    json(StatusCode::OK, &Workers { items })
}

fn view(worker: WorkerRecord) -> WorkerView {
    WorkerView {
        id: worker.id,
        types: worker.types,
        queues: worker.queues,
        slots: worker.slots,
        running: worker.running,
        started_at: worker.started_at,
        last_seen: worker.last_seen,
    }
}
