//! The conformance suite on the in-process broker.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_broker::{Broker, BrokerError, Reach, conformance::Backend};

struct Embedded;

#[async_trait]
impl Backend for Embedded {
    async fn open(&self) -> Arc<dyn Broker> {
        let opened = gristmill_broker::open("embedded:").await.expect("the broker opens");
        assert_eq!(opened.reach, Reach::ThisProcess);
        opened.broker
    }
}

gristmill_broker::conformance::suite!(Embedded);

#[tokio::test]
async fn a_url_that_names_no_broker_is_refused() {
    for url in ["", "embedded", "embedded:x", "http://localhost"] {
        assert!(matches!(gristmill_broker::open(url).await, Err(BrokerError::Url(_))), "{url}");
    }
}
