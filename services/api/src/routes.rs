//! Every route, and the document that describes them.

use actix_web::App;
use gristmill_common::http::Problem;
use utoipa::{OpenApi, openapi::path::PathItem};
use utoipa_actix_web::{AppExt, scope, service_config::ServiceConfig};

use crate::calls::{
    batch, change, dead_letters, job_types, list, operations, queues, read, schedules, stats, submit, workers,
};

/// The calls. Health and metrics are served beside them by `gristmill_runtime::health::routes`.
pub(crate) fn calls(service: &mut ServiceConfig<'_>) {
    service.service(
        scope::scope("/api/v1")
            // Submissions come first: routes are tried in order.
            .service(submit::submit_job)
            .service(read::get_job)
            .service(batch::submit_batch)
            .service(read::get_result)
            .service(read::get_history)
            .service(read::get_logs)
            .service(change::cancel_job)
            .service(change::retry_job)
            .service(change::delete_job)
            .service(list::list_jobs)
            .service(dead_letters::list_dead_letters)
            .service(dead_letters::replay_dead_letters)
            .service(dead_letters::discard_dead_letters)
            .service(schedules::put_schedule)
            .service(schedules::list_schedules)
            .service(schedules::get_schedule)
            .service(schedules::pause_schedule)
            .service(schedules::resume_schedule)
            .service(schedules::delete_schedule)
            .service(job_types::list_job_types)
            .service(queues::list_queues)
            .service(queues::declare_queue)
            .service(queues::pause_queue)
            .service(queues::resume_queue)
            .service(workers::list_workers)
            .service(stats::get_stats),
    );
    service.service(operations::get_openapi);
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gristmill",
        description = "A self-hosted job platform: hand it work over HTTP, watch it, fetch the result. Errors are \
                       application/problem+json (RFC 9457) with a stable code.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(operations::live, operations::ready, operations::metrics),
    components(schemas(Problem)),
    tags(
        (name = "jobs", description = "Work: handed in, watched, stopped, run again, erased"),
        (name = "schedules", description = "Jobs that are made again and again"),
        (name = "platform", description = "What there is: job types, queues, workers, how it goes"),
        (name = "operations", description = "For those who run it")
    )
)]
struct Introduction;

/// The OpenAPI document of every call, as it is served at `/openapi.json`.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    App::new().into_utoipa_app().openapi(Introduction::openapi()).configure(calls).split_for_parts().1
}

/// The routes as patterns, to name them in metrics and logs, and to tell a wrong method from a wrong address.
pub(crate) struct Table(Vec<Route>);

pub(crate) struct Route {
    pub(crate) pattern: String,
    segments: Vec<Segment>,
    /// As `Allow` has them.
    methods: String,
}

enum Segment {
    Fixed(String),
    Any,
}

impl Table {
    pub(crate) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let route = |(pattern, item): (&String, &PathItem)| Route {
            pattern: pattern.clone(),
            segments: pattern.split('/').map(Segment::of).collect(),
            methods: methods(item).join(", "),
        };
        Self(document.paths.paths.iter().map(route).collect())
    }

    /// Which route an address belongs to. Fixed segments win over parameters.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        let matching = self.0.iter().enumerate().filter(|(_, route)| route.matches(path));
        matching.min_by_key(|(_, route)| route.parameters()).map(|(place, _)| place)
    }

    pub(crate) fn pattern(&self, place: Option<usize>) -> &str {
        place.and_then(|place| self.0.get(place)).map_or("(none)", |route| &route.pattern)
    }

    /// The methods that this route takes.
    pub(crate) fn allowed(&self, place: Option<usize>) -> Option<&str> {
        place.and_then(|place| self.0.get(place)).map(|route| route.methods.as_str())
    }
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let fits = |segment: &Segment| match (segment, parts.next()) {
            (Segment::Fixed(text), Some(part)) => text == part,
            (Segment::Any, Some(part)) => !part.is_empty(),
            (_, None) => false,
        };
        self.segments.iter().all(fits) && parts.next().is_none()
    }

    fn parameters(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Any)).count()
    }
}

impl Segment {
    fn of(text: &str) -> Self {
        if text.starts_with('{') { Self::Any } else { Self::Fixed(text.to_owned()) }
    }
}

fn methods(item: &PathItem) -> Vec<&'static str> {
    let mut methods = Vec::new();
    if item.get.is_some() {
        // HEAD works wherever GET does.
        methods.extend(["GET", "HEAD"]);
    }
    let others = [(&item.post, "POST"), (&item.put, "PUT"), (&item.delete, "DELETE")];
    methods.extend(others.into_iter().filter(|(operation, _)| operation.is_some()).map(|(_, method)| method));
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_most_exact_route() {
        let table = Table::of(&document());
        let pattern = |path: &str| table.pattern(table.find(path)).to_owned();
        assert_eq!(pattern("/api/v1/jobs"), "/api/v1/jobs");
        assert_eq!(pattern("/api/v1/jobs/batch"), "/api/v1/jobs/batch");
        assert_eq!(pattern("/api/v1/jobs/job_1"), "/api/v1/jobs/{id}");
        assert_eq!(pattern("/api/v1/queues/q/pause"), "/api/v1/queues/{queue}/pause");
        assert_eq!(pattern("/health/live"), "/health/live");
        for nothing in ["", "/", "/api/v1/jobs/", "/api/v1/jobs/a/b", "/API/v1/jobs", "/api/v1"] {
            assert_eq!(pattern(nothing), "(none)", "{nothing}");
        }
        assert_eq!(table.allowed(table.find("/api/v1/jobs/x")), Some("GET, HEAD, DELETE"));
        assert_eq!(table.allowed(table.find("/api/v1/jobs/batch")), Some("POST"));
        assert_eq!(table.allowed(table.find("/nowhere")), None);
    }
}
