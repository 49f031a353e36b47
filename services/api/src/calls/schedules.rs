//! Schedules: put, told, paused, resumed, deleted.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{
        StatusCode,
        header::{HeaderValue, LINK, LOCATION},
    },
    post, put,
    web::Data,
};
use gristmill_common::{
    InvalidName,
    http::{SchedulePage, ScheduleRequest, ScheduleView},
    schedule::ScheduleName,
};
use gristmill_engine::{EngineError, Put, ScheduleStatus};

use super::{Api, Refused, json, list, object};
use crate::{
    caller::Caller,
    intake::Intake,
    problem::{ApiError, Code},
    query::Parameters,
};

/// Put a schedule
///
/// Makes it, or changes the one of that name, which stays as paused as it is. What its job leaves out is filled in with
/// the type's defaults, as they are now.
#[utoipa::path(
    tag = "schedules",
    request_body = ScheduleRequest,
    params(("name" = String, Path, description = "1 to 64 characters of a-z, 0-9, `_`, `-` and `.`")),
    responses(
        (status = 201, description = "It was made", body = ScheduleView,
         headers(("Location" = String, description = "Where it is"))),
        (status = 200, description = "It was changed", body = ScheduleView),
        Refused
    )
)]
#[put("/schedules/{name}")]
pub(crate) async fn put_schedule(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let name: ScheduleName = path_name(&request).parse().map_err(|error: InvalidName| {
        ApiError::new(Code::InvalidScheduleName, format!("A schedule's name {error}."))
    })?;
    let schedule: ScheduleRequest = object(&api, &request, &intake, Code::InvalidSchedule).await?;
    let put = api.engine.put_schedule(&caller.tenant, &name, schedule).await;
    match put.map_err(|error| ApiError::from(error).in_template())? {
        Put::Replaced(status) => json(StatusCode::OK, &view(status)?),
        Put::Created(status) => {
            let mut answer = json(StatusCode::CREATED, &view(status)?)?;
            let location = HeaderValue::try_from(format!("/api/v1/schedules/{name}"));
            answer.headers_mut().insert(LOCATION, location.map_err(|_| ApiError::internal())?);
            Ok(answer)
        }
    }
}

/// List schedules
#[utoipa::path(
    tag = "schedules",
    params(
        ("limit" = Option<usize>, Query, description = "1 to 500, 50 when it is left out"),
        ("cursor" = Option<String>, Query, description = "The page before said so")
    ),
    responses((status = 200, description = "A page, by name", body = SchedulePage), Refused)
)]
#[get("/schedules")]
pub(crate) async fn list_schedules(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Parameters::of(&request);
    let (limit, cursor) = list::page(&mut query);
    query.finish()?;
    let (schedules, next_cursor) = api.engine.schedules(&caller.tenant, cursor.as_deref(), limit).await?;
    let link = next_cursor.as_deref().and_then(|cursor| list::next_link(&request, cursor));
    let items = schedules.into_iter().map(view).collect::<Result<_, _>>()?;
    let mut answer = json(StatusCode::OK, &SchedulePage { items, next_cursor })?;
    if let Some(link) = link {
        answer.headers_mut().insert(LINK, link);
    }
    Ok(answer)
}

/// Get a schedule
#[utoipa::path(
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses((status = 200, description = "The schedule", body = ScheduleView), Refused)
)]
#[get("/schedules/{name}")]
pub(crate) async fn get_schedule(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    json(StatusCode::OK, &view(api.engine.schedule(&caller.tenant, &named(&request)?).await?)?)
}

/// Pause a schedule
///
/// It does not fire until it is resumed.
#[utoipa::path(
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses((status = 200, description = "The schedule", body = ScheduleView), Refused)
)]
#[post("/schedules/{name}/pause")]
pub(crate) async fn pause_schedule(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    json(StatusCode::OK, &view(api.engine.pause_schedule(&caller.tenant, &named(&request)?).await?)?)
}

/// Resume a schedule
///
/// It fires from now on: what came while it was paused was not missed.
#[utoipa::path(
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses((status = 200, description = "The schedule", body = ScheduleView), Refused)
)]
#[post("/schedules/{name}/resume")]
pub(crate) async fn resume_schedule(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    json(StatusCode::OK, &view(api.engine.resume_schedule(&caller.tenant, &named(&request)?).await?)?)
}

/// Delete a schedule
///
/// The jobs that it has made stay.
#[utoipa::path(
    tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name")),
    responses((status = 204, description = "It is gone"), Refused)
)]
#[delete("/schedules/{name}")]
pub(crate) async fn delete_schedule(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    api.engine.delete_schedule(&caller.tenant, &named(&request)?).await?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}

fn path_name(request: &HttpRequest) -> &str {
    request.match_info().get("name").unwrap_or_default()
}

/// The schedule that the path names. What is no name names none.
fn named(request: &HttpRequest) -> Result<ScheduleName, ApiError> {
    path_name(request).parse().map_err(|_| EngineError::NoSuchSchedule.into())
}

fn view(status: ScheduleStatus) -> Result<ScheduleView, ApiError> {
    ScheduleView::of(status.record, status.next).map_err(|_| ApiError::internal())
}
