//! The store on MongoDB: the conformance suite, and what only it has to stand.

mod faults;
mod opening;
mod place;
mod unreadable;
mod upgrade;

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_storage::{Store, conformance::Backend};

use place::Place;

#[async_trait]
impl Backend for Place {
    async fn open(&self) -> Arc<dyn Store> {
        self.ready().await
    }
}

gristmill_storage::conformance::suite!(Place::new());
