//! A broker with moods: what it does not do for one queue, or for a while, concerns nobody else.

mod support;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use gristmill_common::{
    BandKey, QueueName,
    job::{JobKey, Priority},
};
use gristmill_engine::{Origin, Subscription, Worker, WorkerConfig};
use gristmill_testkit::eventually;
use serde_json::json;
use support::{Rig, request, with};

/// Less than a queue that is sick takes each time.
const SOON: Duration = Duration::from_secs(3);

fn band(queue: &QueueName) -> BandKey {
    BandKey { queue: queue.clone(), priority: Priority::Normal }
}

/// A queue that comes before the default one.
async fn books(rig: &Rig) -> QueueName {
    let books = "books".parse().expect("a name");
    rig.engine.declare_queue(&books).await.expect("declared");
    books
}

async fn waits(rig: &Rig, number: usize) {
    let band = band(&QueueName::default());
    let began = Instant::now();
    eventually("rung", || async { (rig.broker.depth(&band).await.ok()? == number).then_some(()) }).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// One that only the scheduler rings for.
async fn submit_for_later(rig: &Rig, queue: &QueueName) -> JobKey {
    rig.submit(with("sleep", json!({"ms": 0}), json!({ "queue": queue, "delay_ms": 1 }))).await
}

#[tokio::test]
async fn a_sick_queue_holds_up_the_rings_of_no_other() {
    let (rig, broker) = Rig::with_moods().await;
    let books = books(&rig).await;
    broker.is_sick_of(&books);
    for number in 1..=5 {
        rig.submit(with("sleep", json!({"ms": 0}), json!({ "queue": books }))).await;
        rig.submit(request("sleep", json!({"ms": 0}))).await;
        waits(&rig, number).await;
    }
    rig.shutdown.cancel();
}

#[tokio::test]
async fn a_sick_queue_does_not_keep_the_scheduler_from_feeding_others() {
    let (rig, broker) = Rig::with_moods().await;
    let books = books(&rig).await;
    broker.is_sick_of(&books);
    submit_for_later(&rig, &books).await;
    rig.schedule();
    eventually("tried", || async { (broker.unconfirmed.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    for number in 1..=5 {
        submit_for_later(&rig, &books).await;
        submit_for_later(&rig, &QueueName::default()).await;
        waits(&rig, number).await;
    }
    rig.shutdown.cancel();
}

#[tokio::test]
async fn a_band_whose_depth_is_not_said_keeps_its_backlog() {
    let (rig, broker) = Rig::with_moods().await;
    let band = band(&QueueName::default());
    for _ in 0..300 {
        submit_for_later(&rig, &band.queue).await;
    }
    rig.schedule();
    let is_told = async || {
        let leader = rig.store.leader().await.expect("an answer");
        leader.is_some_and(|leader| leader.backlog.contains(&band))
    };
    eventually("a backlog", || async { is_told().await.then_some(()) }).await;
    broker.is_mute_about(&band);
    // Many ticks: long enough for the leader to tell the others.
    eventually("not said", || async { (broker.unsaid.load(Ordering::Relaxed) > 20).then_some(()) }).await;
    assert!(is_told().await, "it still has jobs that were not dispatched");
    rig.shutdown.cancel();
}

#[tokio::test]
async fn whoever_waits_hears_of_what_was_while_nobody_listened() {
    let (rig, broker) = Rig::with_moods().await;
    let key = rig.engine.submit(Origin::default(), request("sleep", json!({"ms": 0}))).await.expect("accepted").key;
    broker.is_deaf();
    let waiting = {
        let (engine, key) = (rig.engine.clone(), key.clone());
        tokio::spawn(async move { engine.wait(&key, Duration::from_secs(30)).await })
    };
    // Until listening has ended and is asked for anew: then those who wait sit between two looks at the store.
    eventually("nobody listens", || async { (broker.unheard.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    rig.engine.cancel(&key).await.expect("cancelled");
    let heard = Instant::now();
    broker.hears_again();
    waiting.await.expect("no panic").expect("a job");
    assert!(heard.elapsed() < Duration::from_millis(700), "{:?}", heard.elapsed());
}

#[tokio::test]
async fn a_worker_for_a_queue_that_is_not_declared_says_so_until_it_is() {
    let (rig, _) = Rig::with_moods().await;
    let books: QueueName = "books".parse().expect("a name");
    let queues = vec![Subscription::to(books.clone())];
    let worker = Worker::new(rig.engine.clone(), WorkerConfig { queues, ..WorkerConfig::default() });
    let running = {
        let worker = worker.clone();
        tokio::spawn(async move { worker.run().await })
    };
    let refused = worker.check().expect_err("there is nothing to consume");
    assert_eq!(refused.to_string(), "queue `books`: not consuming, because it is not declared");
    rig.engine.declare_queue(&books).await.expect("declared");
    eventually("it consumes", || async { worker.check().ok() }).await;
    rig.shutdown.cancel();
    running.await.expect("stopped");
}
