//! A database for one test, on the server that `MONGODB_URL` names.

use std::sync::Arc;

use gristmill_common::{Clock, JobId};
use gristmill_storage::{Ownership, Store};
use gristmill_testkit::eventually;
use mongodb::Client;

/// A database of its own, dropped in the end.
pub(crate) struct Place {
    server: String,
    database: String,
}

/// The server.
pub(crate) fn server() -> String {
    std::env::var("MONGODB_URL").unwrap_or_else(|_| {
        panic!("MONGODB_URL is not set: run the tests with make test, or start servers with deploy/services start")
    })
}

/// The URL of a database on a server.
pub(crate) fn url(server: &str, database: &str) -> String {
    let (address, options) = server.split_once('?').unwrap_or((server, ""));
    let separator = if options.is_empty() { "" } else { "?" };
    format!("{}/{database}{separator}{options}", address.trim_end_matches('/'))
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { server: server(), database: format!("test_{}", &JobId::fresh().to_string()[4..]) }
    }

    pub(crate) fn url(&self) -> String {
        url(&self.server, &self.database)
    }

    /// The same database by another way.
    pub(crate) fn url_by(&self, address: std::net::SocketAddr) -> String {
        url(&format!("mongodb://{address}/?directConnection=true"), &self.database)
    }

    /// The store, as soon as it answers.
    pub(crate) async fn ready(&self) -> Arc<dyn Store> {
        open(&self.url(), &Clock::start()).await
    }

    /// The database, beside the store.
    pub(crate) async fn beside<T>(&self, ask: impl AsyncFnOnce(mongodb::Database) -> mongodb::error::Result<T>) -> T {
        let client = Client::with_uri_str(&self.server).await.expect("a client");
        let answer = ask(client.database(&self.database)).await.expect("the server answers");
        client.shutdown().await;
        answer
    }
}

/// The host and the port in the server's URL.
pub(crate) fn host() -> String {
    let server = server();
    let rest = server.split_once("://").map_or(&*server, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?', ',']).next().unwrap_or_default().to_owned()
}

impl Drop for Place {
    fn drop(&mut self) {
        let (server, database) = (self.server.clone(), self.database.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = Client::with_uri_str(&server).await?;
                client.database(&database).drop().await?;
                client.shutdown().await;
                Ok::<_, mongodb::error::Error>(())
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            other => eprintln!("the database of a test is left behind: {other:?}"),
        }
    }
}

/// A store, as soon as it answers.
pub(crate) async fn open(url: &str, clock: &Clock) -> Arc<dyn Store> {
    let opened = gristmill_storage::open(url, clock).await.expect("the URL is one");
    assert_eq!(opened.ownership, Ownership::Shared);
    answers(&*opened.store).await;
    opened.store
}

/// Waits until a store answers.
pub(crate) async fn answers(store: &dyn Store) {
    eventually("the store answers", async || store.ping().await.ok()).await;
}
