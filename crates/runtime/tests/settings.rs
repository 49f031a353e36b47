//! Settings from their layers: what wins, what is refused, and that secrets stay secret.

use std::{collections::BTreeMap, fs, path::PathBuf};

use gristmill_runtime::settings::{DEFAULTS, LogFormat, Program, Settings, SettingsError, Sources};
use tempfile::TempDir;

const PROGRAMS: [Program; 4] = [Program::Embedded, Program::Api, Program::Worker, Program::Scheduler];

fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Sources::new(Program::Embedded).environment(variables.iter().copied()).load()
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gristmill.toml");
    fs::write(&path, text).expect("a file");
    (folder, path)
}

fn from_file(text: &str) -> Result<Settings, SettingsError> {
    let (_folder, path) = file(text);
    Sources::new(Program::Embedded).file(Some(path)).load()
}

fn refusal(outcome: Result<Settings, SettingsError>) -> String {
    outcome.expect_err("refused").to_string()
}

/// Every key, with its section, of the commented defaults; the key that is commented out among them.
fn keys() -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in DEFAULTS.lines() {
        let line = line.strip_prefix("# test_types").map_or(line.to_owned(), |rest| format!("test_types{rest}"));
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if !line.starts_with('#')
            && let Some((key, _)) = line.split_once(" = ")
        {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

fn variable(key: &str) -> String {
    format!("GRISTMILL_{}", key.to_uppercase().replace('.', "__"))
}

#[test]
fn the_defaults_are_valid_for_every_program() {
    for program in PROGRAMS {
        let settings = Sources::new(program).load().expect("valid defaults");
        let serves_calls = matches!(program, Program::Embedded | Program::Api);
        assert_eq!(settings.http.listen.to_string(), if serves_calls { "127.0.0.1:8080" } else { "127.0.0.1:0" });
        assert_eq!(settings.handlers.test_types, program == Program::Embedded);
        assert_eq!((settings.worker.lease_ms, settings.worker.heartbeat_ms), (10_000, 3_000));
        let retention = &settings.retention;
        assert_eq!((retention.days, retention.failed_days, retention.cancelled_days), (7, 30, 0));
        assert_eq!(settings.http.max_text_bytes, 64 * 1024 * 1024);
        assert_eq!(settings.log.format, LogFormat::Auto);
    }
}

#[test]
fn the_defaults_as_a_file_change_nothing() {
    let settings = from_file(DEFAULTS).expect("the defaults are a valid file");
    assert_eq!(format!("{settings:?}"), format!("{:?}", with(&[]).expect("valid")));
}

#[test]
fn a_file_overrides_the_defaults_and_the_environment_the_file_and_an_option_all() {
    let (_folder, path) =
        file("[http]\nlisten = \"0.0.0.0:1\"\n[store]\nurl = \"sqlite:///a\"\n[worker]\nconcurrency = 3");
    let settings = Sources::new(Program::Worker)
        .file(Some(path))
        .environment([("GRISTMILL_HTTP__LISTEN", "0.0.0.0:2"), ("GRISTMILL_STORE__URL", "sqlite:///b")])
        .option("store.url", Some("sqlite:///c".to_owned()))
        .option("broker.url", None)
        .load()
        .expect("valid settings");
    assert_eq!(settings.worker.concurrency, 3);
    assert_eq!(settings.http.listen.to_string(), "0.0.0.0:2");
    assert_eq!(settings.store.url.expose(), "sqlite:///c");
    assert_eq!(settings.broker.url.expose(), "embedded:");
}

#[test]
fn the_environment_has_numbers_truths_lists_and_empties() {
    let settings = with(&[
        ("GRISTMILL_HTTP__MAX_TEXT_BYTES", "1_000"),
        ("GRISTMILL_HANDLERS__TEST_TYPES", "false"),
        ("GRISTMILL_QUEUES__DECLARED", "mail, reports,,default"),
        ("GRISTMILL_WORKER__QUEUES", "7"),
        ("GRISTMILL_STORE__URL", ""),
        ("GRISTMILL_LOG__FORMAT", "json"),
        ("GRISTMILL_SERVER", "http://localhost"),
        ("GRISTMILL_API_SERVICE_HOST", "10.0.0.1"),
        ("GRISTMILL_API_SERVICE_PORT_HTTP", "80"),
        ("GRISTMILL_PORT", "tcp://10.0.0.1:80"),
        ("GRISTMILL_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ])
    .expect("valid settings");
    assert_eq!(settings.http.max_text_bytes, 1_000);
    assert!(!settings.handlers.test_types);
    let names = |queues: &[gristmill_common::QueueName]| queues.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&settings.queues.declared), ["mail", "reports", "default"]);
    assert_eq!(settings.worker.queues, ["7".parse().expect("a subscription")]);
    assert_eq!(settings.store.url.expose(), "sqlite://./data");
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn every_bad_value_is_told_by_its_key() {
    // What is wrong for each key. Text that nothing but a free filter takes is wrong for the others.
    let special = BTreeMap::from([
        ("http.max_batch_bytes", "1"),
        ("http.max_wait_seconds", "61"),
        ("store.url", "./data"),
        ("queues.declared", "good,Bad"),
        ("worker.queues", "mail=x"),
        ("worker.weights", "3:2"),
        ("worker.lease_ms", "8999"),
        ("scheduler.leader_lease_ms", "999"),
        ("retention.days", "0"),
        ("retention.failed_days", "99999999999"),
        ("retention.cancelled_days", "36501"),
        ("log.filter", "info,a=loud"),
    ]);
    let keys = keys();
    assert!(keys.len() > 25 && keys.contains(&"handlers.test_types".to_owned()), "{keys:?}");
    for key in &keys {
        let bad = special.get(key.as_str()).copied().unwrap_or("-1 x");
        let message = refusal(with(&[(&variable(key), bad)]));
        assert!(message.contains(&format!("\n  {key}")), "{key} = {bad}: {message}");
        assert!(message.contains(&format!("(set by {})", variable(key))), "{key} = {bad}: {message}");
    }
}

#[test]
fn a_worker_takes_from_queues_with_a_number_for_each() {
    let queues = |text: &str| with(&[("GRISTMILL_WORKER__QUEUES", text), ("GRISTMILL_WORKER__WEIGHTS", "5:1:1")]);
    let settings = queues("mail=4, default").expect("valid settings");
    let taken = settings.worker.queues.iter().map(|taken| (taken.queue.as_str(), taken.concurrency));
    assert_eq!(taken.collect::<Vec<_>>(), [("mail", Some(4)), ("default", None)]);
    assert_eq!(settings.worker.weights, "5:1:1".parse().expect("weights"));
    let settings = from_file("[worker]\nqueues = [\"mail=4\"]").expect("valid settings");
    assert_eq!(settings.worker.queues[0].concurrency, Some(4));
    for (bad, message) in [
        ("mail=0", "worker.queues[0]: after the `=` must be how many of the queue's jobs run at once, 1 to 100000"),
        ("a,mail=4x", "worker.queues[1]: after the `=` must be"),
        ("a,=4", "worker.queues[1]: must be 1 to 64 characters"),
        ("mail=4,a,mail", "worker.queues: has the queue `mail` twice"),
    ] {
        let refused = refusal(queues(bad));
        assert!(refused.contains(message) && refused.lines().count() == 2, "{bad}: {refused}");
    }
}

#[test]
fn a_lease_outlasts_three_heartbeats_and_the_time_that_stopping_takes() {
    let lease = |lease: &str, heartbeat: &str| {
        with(&[("GRISTMILL_WORKER__LEASE_MS", lease), ("GRISTMILL_WORKER__HEARTBEAT_MS", heartbeat)])
    };
    for (ms, heartbeat) in [("2000", "10"), ("2000", "666"), ("3000", "1000")] {
        lease(ms, heartbeat).expect("valid settings");
    }
    for (ms, heartbeat, message) in [
        ("1999", "10", "worker.lease_ms: must be 2000 to 86400000 (set by GRISTMILL_WORKER__LEASE_MS)"),
        ("2000", "667", "worker.lease_ms: must be at least 3 x worker.heartbeat_ms"),
    ] {
        let refused = refusal(lease(ms, heartbeat));
        assert!(refused.contains(message), "{ms} {heartbeat}: {refused}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let message = refusal(with(&[
        ("GRISTMILL_WORKER__LEASE_MS", "1000"),
        ("GRISTMILL_HTTP__LISTEN", "here"),
        ("GRISTMILL_HTTP__LISTNE", "0.0.0.0:80"),
        ("GRISTMILL_HTTP_LISTEN", "0.0.0.0:80"),
        ("GRISTMILL_LOG__FORMAT", "yaml"),
        ("GRISTMILL_AUTH__MODE", "closed"),
        ("GRISTMILL_QUEUES__DECLARED", "good,Bad"),
        ("GRISTMILL_PORT", "80"),
    ]));
    for line in [
        "worker.lease_ms: must be at least 3 x worker.heartbeat_ms (set by GRISTMILL_WORKER__LEASE_MS)",
        "http.listen: ",
        "http.listne: is not a setting (set by GRISTMILL_HTTP__LISTNE)",
        "http_listen: is not a setting (set by GRISTMILL_HTTP_LISTEN)",
        "log.format: must be `auto`, `text` or `json` (set by GRISTMILL_LOG__FORMAT)",
        "auth.mode: must be `open` (set by GRISTMILL_AUTH__MODE)",
        "queues.declared[1]: must be 1 to 64 characters",
        "port: is not a setting (set by GRISTMILL_PORT)",
    ] {
        assert!(message.contains(&format!("\n  {line}")), "{line}\n{message}");
    }
}

#[test]
fn unknown_and_misplaced_keys_of_a_file_are_refused_by_name() {
    let message = refusal(from_file(
        "listen = 1\nhttp.lisen = 2\nstore = 3\n[databse]\n[queue]\ndeclared = []\n[worker]\nconcurrency = true\n\
         lease_ms = 1.5\ndrain_ms = -1\nqueues = [1]\n[worker.heartbeat_ms]\nx = 1",
    ));
    for line in [
        "listen: is not a setting",
        "http.lisen: is not a setting",
        "store: is a section, not a value",
        "databse: is not a setting",
        "queue.declared: is not a setting",
        "worker.concurrency: must be a whole number, 0 or more",
        "worker.lease_ms: must be a whole number, 0 or more",
        "worker.drain_ms: must be a whole number, 0 or more",
        "worker.queues: must be a list of names",
        "worker.heartbeat_ms.x: is not a setting",
    ] {
        assert!(message.contains(&format!("\n  {line} (set in ")), "{line}\n{message}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_told_without_its_text() {
    let missing = Sources::new(Program::Api).file(Some("no/such/file.toml".into())).load();
    assert!(refusal(missing).starts_with("cannot read the settings file no/such/file.toml: "));
    let message = refusal(from_file("[broker]\nurl = \"amqp://user:hunter2@host\n"));
    assert!(message.contains("line 2") && !message.contains("hunter2"), "{message}");
}

#[test]
fn secrets_are_never_printed() {
    let secret = "amqp://user:hunter2@host:5672/%2f?token=hunter2";
    let settings = with(&[("GRISTMILL_BROKER__URL", secret)]).expect("valid settings");
    assert_eq!(settings.broker.url.expose(), secret);
    let shown = format!("{settings:?} {}", settings.broker.url);
    assert!(shown.contains("amqp://***@host:5672/%2f") && !shown.contains("hunter2"), "{shown}");
    for bad in ["user name:hunter2@host", "AMQP://u:hunter2@h", "://u:hunter2@h"] {
        let message = refusal(with(&[("GRISTMILL_BROKER__URL", bad)]));
        assert!(message.contains("broker.url: must be a URL") && !message.contains("hunter2"), "{message}");
    }
}
