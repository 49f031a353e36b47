//! The configuration as nginx reads it, beside the settings of the API that it has to be in step with.

use gristmill_testkit::{Gateway, GatewayBuilder};

use crate::gateway;

const SETTINGS: &str = include_str!("../../../../config/default.toml");

/// The number that a setting of the API has by default.
fn setting(name: &str) -> u64 {
    let line = SETTINGS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    line.expect("a setting").replace('_', "").parse().expect("a number")
}

/// All values of a directive, in seconds or as they stand.
fn values(configuration: &str, directive: &str) -> Vec<u64> {
    let lines = configuration.lines().filter_map(|line| line.trim().strip_prefix(directive)?.strip_prefix(' '));
    lines.map(|value| value.trim_end_matches(['s', 'm', ';']).parse().expect("a number")).collect()
}

async fn read(gateway: &Gateway) -> String {
    let (configuration, said) = gateway.configuration().expect("a good configuration");
    assert!(!said.contains("[warn]") && !said.contains("[alert]"), "{said}");
    configuration
}

#[tokio::test]
async fn nginx_has_nothing_to_complain_of() {
    let replicas = ["http://127.0.0.1:8081", "http://127.0.0.1:8082"];
    read(&gateway(replicas).await).await;
    let everything = GatewayBuilder::new(replicas).with_limits().with_tls().start().await.expect("a gateway");
    read(&everything).await;
}

#[tokio::test]
async fn limits_and_times_are_in_step_with_the_apis() {
    let configuration = read(&gateway(["http://127.0.0.1:8081"]).await).await;
    let values = |directive| values(&configuration, directive);
    let largest = ["max_json_bytes", "max_batch_bytes", "max_text_bytes"].map(setting).into_iter().max();
    assert_eq!(values("client_max_body_size").iter().map(|mib| mib << 20).max(), largest);
    assert_eq!(values("client_header_timeout")[0] * 1_000, setting("header_timeout_ms"));
    assert!(values("client_body_timeout")[0] * 1_000 > setting("body_timeout_ms"), "the replica's 408 comes first");
    let [kept, clients] = values("keepalive_timeout")[..] else { panic!("two") };
    assert!(kept * 1_000 < setting("keep_alive_ms"), "the gateway lets go of a connection first");
    assert_eq!(clients * 1_000, setting("keep_alive_ms"));
    let longest = values("proxy_read_timeout").into_iter().max().expect("some");
    assert!(longest > setting("max_wait_seconds") + 10, "a wait is not cut");
    assert!(values("worker_shutdown_timeout")[0] > longest, "nor by a reload");
}
