//! (a) A bare actix-web route that parses the submission and does nothing with it: what HTTP and JSON alone cost.
//! It runs in a process of its own, as the server does.

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    figures::{Figures, Row, Section},
    load,
    program::Program,
    stage::Stage,
};

/// Requests at 64 connections.
pub(crate) const ROUTE: Row =
    Row { section: Section::Route, what: "the same JSON parsed, 64 connections", unit: "requests/s" };

/// The submission, as one parses what one knows.
#[derive(Deserialize)]
struct Submission {
    #[serde(rename = "type")]
    job_type: String,
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    text: String,
    top: u16,
}

/// Serves the route until it is killed, and prints its address.
///
/// # Errors
/// No port can be had.
pub(crate) fn serve() -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let server = HttpServer::new(|| App::new().route("/api/v1/jobs", web::post().to(parse)))
            .workers(threads)
            .bind(("127.0.0.1", 0))?;
        let address = *server.addrs().first().context("bound to nothing")?;
        println!("ready on http://{address}");
        Ok(server.run().await?)
    })
}

async fn parse(submission: web::Json<Submission>) -> HttpResponse {
    let Submission { job_type, payload } = submission.into_inner();
    std::hint::black_box((job_type, payload.text, payload.top));
    HttpResponse::Accepted().finish()
}

/// One round.
///
/// # Errors
/// The route could not be started, or failed.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let server = Program::start(command.arg("bare-actix")).await?;
    figures.record_sample(ROUTE, load::drive(server.address(), &stage.submission, 64, &stage.plan).await?);
    server.kill().await
}
