//! The conformance suite on SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_common::Clock;
use gristmill_storage::{Ownership, Store, conformance::Backend};

struct Sqlite {
    folder: tempfile::TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let url = format!("sqlite://{}", self.folder.path().join("data").display());
        let opened = gristmill_storage::open(&url, &Clock::start()).await.expect("the store opens");
        assert_eq!(opened.ownership, Ownership::Exclusive);
        opened.store
    }
}

gristmill_storage::conformance::suite!(Sqlite::new());
