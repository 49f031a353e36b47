//! `GET /job-types`: what can be submitted.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, web::Data};
use gristmill_common::http::TypeView;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Refused, json};
use crate::{problem::ApiError, query::Parameters};

/// Every job type.
#[derive(Serialize, ToSchema)]
struct JobTypes {
    /// By name.
    items: Vec<TypeView>,
}

/// List job types
///
/// Every type with the JSON Schemas of its payload and result, its class and its defaults.
#[utoipa::path(tag = "platform", responses((status = 200, description = "By name", body = JobTypes), Refused))]
#[get("/job-types")]
pub(crate) async fn list_job_types(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let types = api.engine.job_types();
    let items = types
        .iter()
        .map(|job_type| {
            let record = job_type.record();
            TypeView {
                name: record.name.clone(),
                description: record.description.clone(),
                payload_schema: record.payload_schema.clone(),
                result_schema: record.result_schema.clone(),
                class: record.class,
                accepts_text: record.accepts_text,
                defaults: record.defaults,
            }
        })
        .collect();
    json(StatusCode::OK, &JobTypes { items })
}
