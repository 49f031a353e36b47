//! Opening a store by its URL: the only place that knows which backends there are.

use std::{path::PathBuf, sync::Arc};

use gristmill_common::Clock;

use crate::{
    Store, StoreError,
    mongo::{self, MongoStore},
    sqlite::{self, SqliteStore},
};

/// An open store, and what its owner must know of it.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who else may be using it.
    pub ownership: Ownership,
}

/// Who uses a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// This process alone. Whatever was running when it opened the store is running no more.
    Exclusive,
    /// Other processes too: only the end of a lease tells that its worker is gone.
    Shared,
}

/// A step that brings a store's schema up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version that it brings the schema to.
    pub version: u32,
    /// What it makes.
    pub what: String,
}

/// Opens the store at a URL. `sqlite:///absolute/path` and `sqlite://relative/path` name a data folder, which is
/// made if it is missing; the path is taken as it stands. `mongodb://…/database` and `mongodb+srv://…/database` name
/// a database, `gristmill` if they say none.
///
/// A MongoDB store is returned at once, whether or not the server is there: it connects, and migrates the database if
/// need be, by itself, and goes on trying. Until then every call fails with the reason, and so does
/// [`RecordStore::ping`](crate::RecordStore::ping).
///
/// A store that has a clock of its own sets `clock` by it: MongoDB's server has one. SQLite has none, and leaves it at
/// the host's time.
///
/// The store is closed when the last reference to it is dropped; what was handed to it before is still written.
///
/// # Errors
/// The URL names no backend or no usable folder, the folder is in use, or holds something other than a store
/// that this build can read.
pub async fn open(url: &str, clock: &Clock) -> Result<Opened, StoreError> {
    match Place::of(url)? {
        Place::Folder(folder) => {
            let store = tokio::task::spawn_blocking(move || SqliteStore::open(&folder))
                .await
                .map_err(StoreError::unavailable)??;
            Ok(Opened { store: Arc::new(store), ownership: Ownership::Exclusive })
        }
        Place::Database => Ok(Opened { store: Arc::new(MongoStore::open(url, clock)?), ownership: Ownership::Shared }),
    }
}

/// What [`open`] would do to the schema of the store at a URL, in order; nothing if it is up to date. Nothing is written:
/// a folder that is missing stays missing, and a server may be at work on the store.
///
/// # Errors
/// As [`open`]'s, and [`StoreError::Unavailable`] when a server does not answer within some seconds.
pub async fn pending(url: &str) -> Result<Vec<Migration>, StoreError> {
    match Place::of(url)? {
        Place::Folder(folder) => {
            tokio::task::spawn_blocking(move || sqlite::pending(&folder)).await.map_err(StoreError::unavailable)?
        }
        Place::Database => mongo::pending(url).await,
    }
}

/// Where a store is.
enum Place {
    /// SQLite's data folder.
    Folder(PathBuf),
    /// A database on a MongoDB server.
    Database,
}

impl Place {
    fn of(url: &str) -> Result<Self, StoreError> {
        match url.split_once("://") {
            Some(("sqlite", "")) => Err(StoreError::Url("name a folder, as in sqlite:///var/lib/gristmill".into())),
            Some(("sqlite", folder)) => Ok(Self::Folder(PathBuf::from(folder))),
            Some(("mongodb" | "mongodb+srv", _)) => Ok(Self::Database),
            // The rest of the URL may hold a password: it is not repeated.
            Some((scheme, _)) => Err(StoreError::Url(format!(
                "`{scheme}` is no store; sqlite://<folder> and mongodb://<host>/<database> are"
            ))),
            None => Err(StoreError::Url("expected sqlite://<folder> or mongodb://<host>/<database>".into())),
        }
    }
}
