//! TLS with the development certificate. `curl` is the client: the tests' own has no TLS.

use std::process::Stdio;

use gristmill_common::http::Problem;
use gristmill_testkit::{Gateway, GatewayBuilder};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{check, replica};

/// Runs `curl` with this input, and takes the body, the version of HTTP and the status.
async fn curl(gateway: &Gateway, call: &str, options: &[&str], input: &str) -> (String, String, u16) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-w", "\n%{http_version} %{http_code}", "--cacert"]);
    command.arg(gateway.certificate()).args(options).arg(format!("{}{call}", gateway.tls_url()));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl is installed");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).await.expect("curl reads");
    let output = child.wait_with_output().await.expect("curl ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, facts) = text.rsplit_once('\n').expect("facts");
    let (version, status) = facts.split_once(' ').expect("two facts");
    (body.to_owned(), version.to_owned(), status.parse().expect("a status"))
}

#[tokio::test]
async fn clients_may_come_with_tls_and_http_2() {
    let replica = replica().await;
    let gateway = GatewayBuilder::new([replica.server.url()]).with_tls().start().await.expect("a gateway");
    let json = ["-H", "Content-Type: application/json", "-d", "@-"];
    let job = r#"{"type": "sleep", "payload": {"ms": 1}}"#;
    let (_, version, status) = curl(&gateway, "/api/v1/jobs", &json, job).await;
    assert_eq!((version.as_str(), status), ("2", 202));
    let (_, version, status) = curl(&gateway, "/api/v1/jobs", &[&["--http1.1"], &json[..]].concat(), job).await;
    assert_eq!((version.as_str(), status), ("1.1", 202));

    // A text of unknown length.
    let text = ["-H", "Content-Type: text/plain", "-X", "POST", "-T", "-"];
    let (_, version, status) =
        curl(&gateway, "/api/v1/jobs?type=word_count", &text, &"to be or not to be ".repeat(100_000)).await;
    assert_eq!((version.as_str(), status), ("2", 202));

    // The API knows its own pages by the `Host` that the client sent.
    let own = format!("Origin: {}", gateway.tls_url());
    let (_, _, status) = curl(&gateway, "/api/v1/jobs", &[&["-H", own.as_str()], &json[..]].concat(), job).await;
    assert_eq!(status, 202);
    let foreign = [&["-H", "Origin: https://evil.example"], &json[..]].concat();
    let (body, _, status) = curl(&gateway, "/api/v1/jobs", &foreign, job).await;
    assert_eq!(status, 403, "{body}");

    let (body, version, status) = curl(&gateway, "/metrics", &[], "").await;
    assert_eq!((version.as_str(), status), ("2", 404));
    check(&serde_json::from_str::<Problem>(&body).expect("a problem"), 404, "not_found");
}

#[tokio::test]
async fn who_speaks_plainly_to_the_tls_port_is_told() {
    let gateway = GatewayBuilder::new(["http://127.0.0.1:8081"]).with_tls().start().await.expect("a gateway");
    let plain = gateway.tls_url().replace("https://localhost", "http://127.0.0.1");
    crate::problem(reqwest::get(plain).await.expect("an answer"), 400, "bad_request").await;
}
