//! The driver's connections: how many, how they are made, and what is told of them.

use std::{
    sync::Arc,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use mongodb::{
    event::{EventHandler, cmap::CmapEvent},
    options::{ClientOptions, ConnectionString},
};

use crate::StoreError;

tokio::task_local! {
    /// Which command the task is about to send.
    pub(super) static COMMAND: &'static str;
}

/// The database, when the URL names none.
const DATABASE: &str = "gristmill";
/// The most connections, when the URL does not say: every bulk write takes one, and so does every read.
const POOL: u32 = 32;
/// How many of them may be made at once, when the URL does not say. A few at a time, which is usual, would have everybody
/// wait for the others' when the server is slow.
const MADE_AT_ONCE: u32 = 16;
/// How many connections there are for leases: those of a worker are renewed together, and so is the lead.
const FOR_LEASES: u32 = 2;
const CONNECT: Duration = Duration::from_secs(3);
const SELECT: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Where the database is.
#[derive(Clone)]
pub(super) struct Place {
    url: ConnectionString,
    pub(super) database: String,
}

impl Place {
    /// Reads a URL. Nothing of it is repeated in an error: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let parsed = ConnectionString::parse(url).map_err(|_| {
            StoreError::Url(
                "not a MongoDB URL; expected mongodb://<user>:<password>@<host>:<port>/<database>, with `@`, `:`, `/` \
                 and `%` in the user name and the password written as %40, %3A, %2F and %25"
                    .into(),
            )
        })?;
        let database = parsed.default_database.clone().unwrap_or_else(|| DATABASE.into());
        Ok(Self { url: parsed, database })
    }

    /// The options of a client. Looks the servers up where the URL names a service.
    pub(super) async fn options(&self) -> Result<ClientOptions, mongodb::error::Error> {
        let mut options = ClientOptions::parse(self.url.clone()).await?;
        options.app_name.get_or_insert_with(|| "gristmill".into());
        options.max_pool_size.get_or_insert(POOL);
        options.max_connecting.get_or_insert(MADE_AT_ONCE);
        options.connect_timeout.get_or_insert(CONNECT);
        options.server_selection_timeout.get_or_insert(SELECT);
        options.heartbeat_freq.get_or_insert(LOOK_AGAIN);
        // One layer tries again: the engine, which knows what it asked for.
        options.retry_reads = Some(false);
        options.retry_writes = Some(false);
        let pool = Pool::default();
        metrics::gauge!("gristmill_store_pool_limit").set(f64::from(options.max_pool_size.unwrap_or(POOL)));
        options.cmap_event_handler = Some(EventHandler::callback(move |event| pool.tell(event)));
        Ok(options)
    }
}

/// The same server, by connections that only leases use. They are made at once: with a slow server that may take as long
/// as a call may.
pub(super) fn for_leases(options: &ClientOptions) -> ClientOptions {
    let mut options = options.clone();
    (options.max_pool_size, options.min_pool_size) = (Some(FOR_LEASES), Some(FOR_LEASES));
    options
}

/// What is known of the connections.
#[derive(Default, Clone)]
struct Pool {
    open: Arc<AtomicI64>,
    waiting: Arc<AtomicI64>,
}

impl Pool {
    fn tell(&self, event: CmapEvent) {
        match event {
            CmapEvent::ConnectionCreated(_) => gauge("gristmill_store_pool_connections", &self.open, 1),
            CmapEvent::ConnectionClosed(_) => gauge("gristmill_store_pool_connections", &self.open, -1),
            CmapEvent::ConnectionCheckoutStarted(_) => gauge("gristmill_store_pool_waiting", &self.waiting, 1),
            CmapEvent::ConnectionCheckoutFailed(_) => {
                gauge("gristmill_store_pool_waiting", &self.waiting, -1);
                metrics::counter!("gristmill_store_pool_failures_total").increment(1);
            }
            // The driver takes a connection for each command, and for nothing else.
            CmapEvent::ConnectionCheckedOut(taken) => {
                gauge("gristmill_store_pool_waiting", &self.waiting, -1);
                metrics::histogram!("gristmill_store_pool_wait_seconds").record(taken.duration.as_secs_f64());
                let command = COMMAND.try_with(|name| *name).unwrap_or("driver");
                metrics::counter!("gristmill_store_round_trips_total", "command" => command).increment(1);
            }
            _ => {}
        }
    }
}

fn gauge(name: &'static str, number: &AtomicI64, change: i64) {
    let now = number.fetch_add(change, Ordering::Relaxed) + change;
    metrics::gauge!(name).set(now as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_database_means_the_usual_one() {
        let database = |url| Place::parse(url).map(|place| place.database);
        assert_eq!(database("mongodb://localhost").expect("a place"), "gristmill");
        assert_eq!(database("mongodb://localhost:1/").expect("a place"), "gristmill");
        assert_eq!(database("mongodb://a:1,b:2/jobs?replicaSet=rs").expect("a place"), "jobs");
        assert_eq!(database("mongodb+srv://cluster.example.org/jobs").expect("a place"), "jobs");
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in
            ["mongodb://", "mongodb://u:hunter2@", "mongodb://u:hunter2@h:port/", "mongodb://u:hunter2@h/?tls=perhaps"]
        {
            let error = Place::parse(url).err().expect("the URL is refused");
            assert!(matches!(error, StoreError::Url(_)), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_the_url_says_wins() {
        let options = |url| async move { Place::parse(url).expect("a place").options().await.expect("options") };
        let said = options("mongodb://h/?maxPoolSize=7&serverSelectionTimeoutMS=100").await;
        assert_eq!(said.max_pool_size, Some(7));
        assert_eq!(said.server_selection_timeout, Some(Duration::from_millis(100)));
        let usual = options("mongodb://h").await;
        assert_eq!((usual.max_pool_size, usual.retry_writes), (Some(POOL), Some(false)));
    }
}
