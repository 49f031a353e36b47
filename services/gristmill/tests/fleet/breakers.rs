//! What is around the store and the broker is seen from outside: closed, open while one is cut off, and closed again.

use gristmill_testkit::{FleetBuilder, Http, Kind, Manner, Proxy, World, eventually};
use serde_json::{Value, json};

use crate::{fleet, turn};

/// What `/health/ready` says of the breakers.
async fn breakers(http: &Http) -> Value {
    http.try_get("/health/ready").await.expect("an answer").json["breakers"].take()
}

async fn become_so(http: &Http, wanted: Value) {
    eventually("the breakers stand so", || async { (breakers(http).await == wanted).then_some(()) }).await;
}

/// A metric of the breaker around this.
async fn measured(http: &Http, metric: &str, name: &str) -> f64 {
    http.metric(&format!("{metric}{{name=\"{name}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn breakers_open_while_a_server_is_cut_off_and_close_when_it_is_back() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let store = Proxy::start(world.store_address()).await.expect("a proxy");
    let broker = Proxy::start(world.broker_address()).await.expect("a proxy");
    let builder: FleetBuilder = fleet()
        .with("store.url", world.store_url_through(&store.address().to_string()))
        .with("broker.url", world.broker_url_through(&broker.address().to_string()));
    let mut api = builder.process(Kind::Api, &world).spawn().expect("a process");
    let http = Http::new(&api.ready().await.expect("it gets ready"));
    become_so(&http, json!({"store": "closed", "broker": "closed"})).await;
    for name in ["store", "broker"] {
        eventually("it is measured", || async {
            (measured(&http, "gristmill_breaker_state", name).await == 0.0).then_some(())
        })
        .await;
    }
    for (proxy, name, other) in [(&store, "store", "broker"), (&broker, "broker", "store")] {
        // A connection that was lost on a busy machine has opened it as well.
        let before = measured(&http, "gristmill_breaker_opened_total", name).await;
        proxy.treat(Manner::Refuse);
        become_so(&http, json!({name: "open", other: "closed"})).await;
        eventually("it is counted", || async {
            (measured(&http, "gristmill_breaker_opened_total", name).await >= before + 1.0).then_some(())
        })
        .await;
        proxy.treat(Manner::Forward);
        become_so(&http, json!({"store": "closed", "broker": "closed"})).await;
    }
}
