//! Queues that are not as they should be: of other arguments, gone, or full.

use gristmill_broker::{Broker, BrokerError, MOST_READY, Published, conformance::Backend};
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};

use crate::support::{Rabbit, band, client, connected, dispatches, eventually, fresh_queue};

#[tokio::test]
async fn a_queue_with_other_arguments_is_said_and_others_go_on() {
    let rabbit = Rabbit::new();
    let (broker, other) = (rabbit.open().await, rabbit.open().await);
    let (queue, good) = (fresh_queue(), fresh_queue());
    let (_connection, channel) = client().await;
    let declared =
        channel.queue_declare(rabbit.name(&queue).into(), QueueDeclareOptions::durable(), FieldTable::default());
    declared.await.expect("a classic queue");
    for _ in 0..2 {
        let declared = broker.declare(&queue).await;
        assert!(
            matches!(&declared, Err(BrokerError::Conflict { queue: named, .. }) if *named == queue),
            "{declared:?}"
        );
    }
    assert!(matches!(broker.ping().await, Err(BrokerError::Conflict { .. })), "health shows it");
    broker.declare(&good).await.expect("another queue");
    let outcomes = broker.publish(&good, dispatches(0..1)).await.expect("published");
    assert_eq!(outcomes, [Published::Confirmed]);
    connected(&*other).await;
    // Deleted, it is made anew, and health is good again.
    channel.queue_delete(rabbit.name(&queue).into(), QueueDeleteOptions::default()).await.expect("deleted");
    eventually("the declaration", || async { broker.declare(&queue).await.ok() }).await;
    connected(&*broker).await;
}

#[tokio::test]
async fn a_queue_deleted_by_hand_is_refused_then_made_again() {
    let rabbit = Rabbit::new();
    let broker = rabbit.open().await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let mut consumer = broker.consume(&band(&queue), 10).await.expect("a consumer");
    let (_connection, channel) = client().await;
    channel.queue_delete(rabbit.name(&queue).into(), QueueDeleteOptions::default()).await.expect("deleted");
    let lost = tokio::time::timeout(std::time::Duration::from_secs(10), consumer.recv(1)).await;
    assert!(matches!(lost, Ok(Err(BrokerError::Unavailable(_)))), "{lost:?}");
    let outcomes = broker.publish(&queue, dispatches(0..100)).await.expect("an answer");
    assert!(outcomes.iter().all(|outcome| *outcome == Published::Refused), "{outcomes:?}");
    let again = broker.publish(&queue, dispatches(0..1)).await;
    assert!(matches!(again, Err(BrokerError::Undeclared(_))), "{again:?}");
    broker.declare(&queue).await.expect("declared again");
    let outcomes = broker.publish(&queue, dispatches(0..1)).await.expect("an answer");
    assert_eq!(outcomes, [Published::Confirmed]);
    let mut consumer = broker.consume(&band(&queue), 10).await.expect("a consumer");
    assert_eq!(consumer.recv(1).await.expect("a delivery").len(), 1);
}

#[tokio::test]
async fn a_queue_gone_when_its_depth_is_asked_is_declared_anew() {
    let rabbit = Rabbit::new();
    let broker = rabbit.open().await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let (_connection, channel) = client().await;
    channel.queue_delete(rabbit.name(&queue).into(), QueueDeleteOptions::default()).await.expect("deleted");
    let depth = broker.depth(&band(&queue)).await;
    assert!(matches!(depth, Err(BrokerError::Undeclared(_))), "{depth:?}");
    broker.declare(&queue).await.expect("declared again");
    assert_eq!(broker.depth(&band(&queue)).await.expect("a depth"), 0);
}

#[tokio::test]
async fn one_call_of_more_than_a_band_takes_is_refused_in_part() {
    let rabbit = Rabbit::new();
    let broker = rabbit.open().await;
    let queue = fresh_queue();
    broker.declare(&queue).await.expect("declared");
    let outcomes = broker.publish(&queue, dispatches(0..3 * MOST_READY as u32)).await.expect("an answer");
    let confirmed = outcomes.iter().filter(|outcome| **outcome == Published::Confirmed).count();
    // The broker notices a little late that a band is full.
    assert!((MOST_READY..2 * MOST_READY).contains(&confirmed), "{confirmed} confirmed");
    assert_eq!(depth(&*broker, &queue).await, confirmed);
}

async fn depth(broker: &dyn Broker, queue: &gristmill_common::QueueName) -> usize {
    broker.depth(&band(queue)).await.expect("a depth")
}
