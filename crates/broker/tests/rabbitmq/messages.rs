//! Messages that this build did not write.

use std::time::Duration;

use gristmill_broker::conformance::{Backend, number_of};
use lapin::{
    BasicProperties,
    options::{BasicGetOptions, BasicPublishOptions},
};

use crate::support::{Rabbit, band, client, dispatches, eventually, fresh_queue};

#[tokio::test]
async fn a_message_that_is_none_of_ours_is_dropped() {
    let rabbit = Rabbit::new();
    let broker = rabbit.open().await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let (_connection, channel) = client().await;
    for body in ["", "{", r#"{"v":1}"#, "\u{0}"] {
        send(&channel, &rabbit.name(&queue), body).await;
    }
    broker.publish(&queue, dispatches(7..8)).await.expect("published");
    // With room for one at a time, the dispatch comes only when those before it were acked.
    let mut consumer = broker.consume(&band(&queue), 1).await.expect("a consumer");
    let deliveries = consumer.recv(10).await.expect("a delivery");
    assert_eq!(deliveries.iter().map(|delivery| number_of(&delivery.dispatch)).collect::<Vec<_>>(), [7]);
}

#[tokio::test]
async fn a_message_of_a_newer_build_is_left_for_a_newer_worker() {
    let rabbit = Rabbit::new();
    let broker = rabbit.open().await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let (_connection, channel) = client().await;
    let newer = r#"{"v":3,"something":"new"}"#;
    send(&channel, &rabbit.name(&queue), newer).await;
    broker.publish(&queue, dispatches(7..8)).await.expect("published");
    let mut consumer = broker.consume(&band(&queue), 10).await.expect("a consumer");
    let deliveries = consumer.recv(10).await.expect("a delivery");
    assert_eq!(deliveries.iter().map(|delivery| number_of(&delivery.dispatch)).collect::<Vec<_>>(), [7]);
    consumer.ack(&[deliveries[0].tag]);
    let more = tokio::time::timeout(Duration::from_millis(200), consumer.recv(10)).await;
    assert!(more.is_err(), "the newer message is not delivered again and again");
    drop(consumer);
    let left = eventually("the newer message", || async {
        let name = rabbit.name(&queue).into();
        channel.basic_get(name, BasicGetOptions { no_ack: true }).await.expect("an answer")
    })
    .await;
    assert_eq!(left.data, newer.as_bytes());
}

async fn send(channel: &lapin::Channel, queue: &str, body: &str) {
    let properties = BasicProperties::default();
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await.expect("sent");
}
