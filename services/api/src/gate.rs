//! What every request passes through: it gets an id, a line in the log and a place in the metrics; an error gets
//! its body; and what was left of the request's body is seen to.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Instant};

use actix_web::{
    Error, HttpMessage, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody, SizedStream},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use futures::FutureExt;
use tracing::Instrument;

use crate::{
    caller::{Exchange, RequestId, X_REQUEST_ID},
    config::MAX_HEAD_BYTES,
    headers::site,
    intake::{Early, Intake},
    load::{Load, Room},
    measure::Meter,
    problem::{ApiError, Code, PROBLEM_JSON},
    routes::Table,
};

/// The gate of one serving thread.
pub(crate) struct Gate {
    table: Arc<Table>,
    meter: Meter,
    load: Arc<Load>,
}

/// What is known of a request before it is served.
struct Arrival {
    started: Instant,
    method: Method,
    route: Option<usize>,
    request_id: RequestId,
    intake: Option<Intake>,
}

impl Gate {
    pub(crate) fn new(table: Arc<Table>, load: Arc<Load>) -> Self {
        Self { meter: Meter::new(table.clone()), table, load }
    }

    /// Lets one request through.
    pub(crate) async fn pass(
        self: Rc<Self>,
        mut request: ServiceRequest,
        next: Next<BoxBody>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        let arrival = self.receive(&mut request);
        let span = tracing::debug_span!(
            "request",
            request.id = arrival.request_id.as_str(),
            http.method = arrival.method.as_str(),
            http.route = self.table.pattern(arrival.route),
        );
        let checked = check_head(&request).and_then(|()| check_site(&request)).and_then(|()| self.admit(&request));
        let served = match checked {
            Err(error) => Ok(Ok(request.error_response(error))),
            // What a panic leaves behind is dropped with the request.
            Ok(_room) => AssertUnwindSafe(next.call(request)).catch_unwind().instrument(span).await,
        };
        if let Some(intake) = &arrival.intake {
            intake.leave();
        }
        let mut response = match served {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.lose(&arrival, error.as_error::<ApiError>())),
            Err(_panic) => return Err(self.lose(&arrival, None)),
        };
        if response.status().is_client_error() || response.status().is_server_error() {
            response = self.explain(&arrival, response);
        }
        mark(response.headers_mut(), &arrival.request_id);
        if arrival.method == Method::HEAD {
            response = response.map_body(|_, body| without_reading(body));
        }
        if let Some(intake) = &arrival.intake
            && !intake.has_ended()
        {
            intake.drain().await;
            if !intake.has_ended() {
                response = response.map_body(|_, body| BoxBody::new(Early::new(body, intake.clone())));
            }
        }
        self.finish(&arrival, response.status());
        Ok(response)
    }

    fn receive(&self, request: &mut ServiceRequest) -> Arrival {
        let started = Instant::now();
        let route = self.table.find(request.path());
        let method = request.method().clone();
        if method == Method::HEAD {
            // The HTTP layer remembers that it was HEAD, and sends no body.
            request.head_mut().method = Method::GET;
        }
        let request_id = RequestId::of(request.headers());
        let payload = request.take_payload();
        let intake =
            (!matches!(payload, actix_web::dev::Payload::None)).then(|| Intake::new(payload, self.load.clone()));
        request.extensions_mut().insert(Exchange { request_id: request_id.clone(), intake: intake.clone() });
        Arrival { started, method, route, request_id, intake }
    }

    /// Takes room for a request that changes something. One that reads, or that waits for a job, needs none.
    fn admit(&self, request: &ServiceRequest) -> Result<Option<Room>, ApiError> {
        match request.method().is_safe() {
            true => Ok(None),
            false => self.load.admit().map(Some),
        }
    }

    /// Gives an error its body. What answers for itself, as readiness does, is left alone.
    fn explain(&self, arrival: &Arrival, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        let status = response.status();
        let foreign = match response.response().error() {
            Some(error) if error.as_error::<ApiError>().is_some() => None,
            Some(_) => Some(ApiError::of_status(status)),
            None if matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0)) => {
                Some(ApiError::of_status(status))
            }
            None => return response,
        };
        let own = response.response().error().and_then(|error| error.as_error::<ApiError>());
        let Some(error) = own.or(foreign.as_ref()) else { return response };
        let answer = match (error.code(), self.table.allowed(arrival.route)) {
            // A router that found no route for the method does not know that there is one for another.
            (Code::NotFound | Code::MethodNotAllowed, Some(allowed)) => {
                let detail = format!("It takes {allowed}.");
                let mut answer = render(&ApiError::new(Code::MethodNotAllowed, detail), &arrival.request_id);
                if let Ok(allowed) = HeaderValue::from_str(allowed) {
                    answer.headers_mut().insert(header::ALLOW, allowed);
                }
                answer
            }
            _ => render(error, &arrival.request_id),
        };
        self.log_failure(arrival, error);
        let (request, _) = response.into_parts();
        ServiceResponse::new(request, answer)
    }

    /// The request itself is lost with an error that came from the layers between, or with a panic: all that is
    /// left is to answer.
    fn lose(&self, arrival: &Arrival, error: Option<&ApiError>) -> Error {
        let internal = ApiError::internal();
        let error = error.unwrap_or(&internal);
        self.log_failure(arrival, error);
        let answer = render(error, &arrival.request_id);
        self.finish(arrival, answer.status());
        Rendered { problem: error.problem(arrival.request_id.as_str()), request_id: arrival.request_id.clone() }.into()
    }

    fn log_failure(&self, arrival: &Arrival, error: &ApiError) {
        let (id, route) = (arrival.request_id.as_str(), self.table.pattern(arrival.route));
        let (code, cause) = (error.code().word(), error.cause());
        match error.code().status() {
            500 => tracing::error!(request.id = id, http.route = route, code, error = cause, "a request failed"),
            // The load has said it.
            503 if error.code() == Code::Overloaded && std::error::Error::source(error).is_none() => {}
            503 => {
                tracing::warn!(request.id = id, http.route = route, code, error = cause, "a request was turned away")
            }
            _ => {}
        }
    }

    fn finish(&self, arrival: &Arrival, status: StatusCode) {
        let took = arrival.started.elapsed();
        self.meter.count(arrival.route, &arrival.method, status, took);
        tracing::debug!(
            request.id = arrival.request_id.as_str(),
            http.method = arrival.method.as_str(),
            http.route = self.table.pattern(arrival.route),
            http.status = status.as_u16(),
            http.ms = took.as_secs_f64() * 1_000.0,
            "answered"
        );
    }
}

/// Refuses a head that is larger than anybody needs. One over 128 KiB, or with more than 96 headers, does not
/// come so far: the HTTP layer refuses it with a bare status.
fn check_head(request: &ServiceRequest) -> Result<(), ApiError> {
    let line = request.uri().path().len() + request.query_string().len();
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if line + headers <= MAX_HEAD_BYTES {
        return Ok(());
    }
    Err(ApiError::new(Code::HeadersTooLarge, format!("At most {MAX_HEAD_BYTES} bytes of headers are taken.")))
}

/// Refuses what a page of another site had somebody's browser send.
fn check_site(request: &ServiceRequest) -> Result<(), ApiError> {
    if site::is_foreign_change(request.method(), request.headers()) {
        return Err(ApiError::new(
            Code::CrossSiteRequest,
            "It must come from a program, or from a page of this server.",
        ));
    }
    Ok(())
}

fn render(error: &ApiError, request_id: &RequestId) -> HttpResponse {
    let problem = error.problem(request_id.as_str());
    let mut answer = HttpResponse::build(error.status_code());
    answer.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
    if let Some(seconds) = error.code().retry_after() {
        answer.insert_header((header::RETRY_AFTER, seconds));
    }
    if let Some(id) = error.in_the_way() {
        answer.insert_header((header::LOCATION, format!("/api/v1/jobs/{id}")));
    }
    answer.body(serde_json::to_vec(&problem).unwrap_or_default())
}

/// What every answer carries.
fn mark(headers: &mut header::HeaderMap, request_id: &RequestId) {
    headers.insert(HeaderName::from_static(X_REQUEST_ID), request_id.to_header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// An answer to HEAD has the length of what is not sent. A large result need not be read for that.
fn without_reading(body: BoxBody) -> BoxBody {
    match body.size() {
        BodySize::Sized(bytes) => BoxBody::new(SizedStream::new(bytes, futures::stream::empty::<Result<_, Error>>())),
        BodySize::None | BodySize::Stream => body,
    }
}

/// An answer in the form of an error, for when there is no request any more to answer to.
#[derive(Debug)]
struct Rendered {
    problem: gristmill_common::http::Problem,
    request_id: RequestId,
}

impl std::fmt::Display for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.code)
    }
}

impl ResponseError for Rendered {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code())
            .insert_header((header::CONTENT_TYPE, PROBLEM_JSON))
            .body(serde_json::to_vec(&self.problem).unwrap_or_default());
        mark(answer.headers_mut(), &self.request_id);
        answer
    }
}

#[cfg(test)]
mod tests;
