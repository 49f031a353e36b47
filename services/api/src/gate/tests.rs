use actix_web::{
    App,
    http::header::ContentType,
    middleware::from_fn,
    test::{TestRequest, init_service},
    web,
};
use gristmill_common::http::Problem;

use super::*;
use crate::{caller::Caller, problem::Code};

async fn panics() -> HttpResponse {
    panic!("on purpose")
}

async fn takes_json(_: web::Json<u32>) -> HttpResponse {
    HttpResponse::Ok().finish()
}

async fn unready() -> HttpResponse {
    HttpResponse::ServiceUnavailable().content_type(ContentType::plaintext()).body("not yet")
}

async fn store_is_gone(_: Caller) -> Result<HttpResponse, ApiError> {
    let gone = gristmill_engine::StoreError::unavailable(std::io::Error::other("a secret"));
    Err(gristmill_engine::EngineError::from(gone).into())
}

async fn ask(request: TestRequest) -> (ServiceResponse<BoxBody>, Option<Problem>) {
    let gate = Rc::new(Gate::new(Arc::new(Table::of(&crate::document())), Arc::new(Load::new(1, 1_024))));
    let app = App::new()
        .wrap(from_fn(move |request, next| gate.clone().pass(request, next)))
        .service(web::resource("/health/live").route(web::get().to(unready)))
        .route("/panics", web::get().to(panics))
        .route("/store", web::get().to(store_is_gone))
        .route("/json", web::post().to(takes_json));
    let app = init_service(app).await;
    let response = match actix_web::dev::Service::call(&app, request.to_request()).await {
        Ok(response) => response,
        // As the HTTP layer makes an answer of an error.
        Err(error) => ServiceResponse::new(TestRequest::default().to_http_request(), error.error_response()),
    };
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let bytes = actix_web::body::to_bytes(body).await.unwrap_or_default();
    let problem = serde_json::from_slice(&bytes).ok();
    (ServiceResponse::new(request, response.set_body(BoxBody::new(bytes))), problem)
}

#[actix_web::test]
async fn a_panic_is_an_internal_error_and_nothing_more() {
    let (response, problem) = ask(TestRequest::get().uri("/panics").insert_header((X_REQUEST_ID, "mine"))).await;
    let problem = problem.expect("a problem");
    assert_eq!((response.status().as_u16(), problem.code.as_str()), (500, Code::InternalError.word()));
    assert_eq!(problem.request_id, "mine");
    assert_eq!(response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()), Some("mine"));
    assert!(!problem.detail.contains("on purpose"));
}

#[actix_web::test]
async fn errors_of_the_framework_become_problems_too() {
    let (response, problem) = ask(TestRequest::post().uri("/json").set_payload("x")).await;
    assert!(response.status().is_client_error());
    assert_eq!(problem.expect("a problem").status, response.status().as_u16());
    let (response, problem) = ask(TestRequest::get().uri("/nowhere")).await;
    assert_eq!((response.status().as_u16(), problem.expect("a problem").code), (404, "not_found".to_owned()));
    let (response, problem) = ask(TestRequest::post().uri("/health/live")).await;
    assert_eq!((response.status().as_u16(), problem.expect("a problem").code), (405, "method_not_allowed".to_owned()));
    assert_eq!(response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok()), Some("GET, HEAD"));
}

#[actix_web::test]
async fn what_answers_for_itself_is_left_alone() {
    let (response, problem) = ask(TestRequest::get().uri("/health/live")).await;
    assert_eq!((response.status().as_u16(), problem.is_none()), (503, true));
    assert!(response.headers().contains_key(X_REQUEST_ID));
}

#[actix_web::test]
async fn a_store_that_is_gone_is_503_with_the_time_to_try_again() {
    let (response, problem) = ask(TestRequest::get().uri("/store")).await;
    let problem = problem.expect("a problem");
    assert_eq!((response.status().as_u16(), problem.code.as_str()), (503, "store_unavailable"));
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(problem.detail.contains("Idempotency-Key") && !problem.detail.contains("secret"));
}
