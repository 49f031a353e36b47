//! `API.md`: its lines work when they are pasted, and it has every call.

use std::process::Command;

use crate::support::spawn;

const API_MD: &str = include_str!("../../../../API.md");

/// The blocks that are run, as one script.
fn script() -> String {
    let mut script = String::from("set -eux\n");
    let mut is_run = false;
    for line in API_MD.lines() {
        match line {
            "```sh" => is_run = true,
            "```" => is_run = false,
            line if is_run => script.extend([line, "\n"]),
            _ => {}
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_works_when_it_is_pasted() {
    let stack = spawn().await;
    let script = script().replace("http://127.0.0.1:8080", &format!("http://{}", stack.address));
    assert!(script.matches("curl ").count() > 30);
    let folder = tempfile::tempdir().expect("a folder");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).current_dir(folder.path()).env("no_proxy", "127.0.0.1");
    let ran = tokio::task::spawn_blocking(move || shell.output()).await.expect("no panic").expect("a shell and curl");
    let (out, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{errors}");
    assert!(!out.contains("\"code\":\"internal_error\""), "{out}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_has_its_chapter() {
    let document = serde_json::to_value(gristmill_api::document()).expect("JSON");
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(path) = path.strip_prefix("/api/v1") else {
            assert!(API_MD.contains(&format!("http://127.0.0.1:8080{path}")), "{path}");
            continue;
        };
        for method in item.as_object().expect("operations").keys() {
            let chapter = format!("### `{} {path}`\n", method.to_uppercase());
            assert!(API_MD.contains(&chapter), "{chapter}");
        }
    }
}
