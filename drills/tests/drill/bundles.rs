//! The classifier, asked about an incident bundle that the instruments have written.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use axum::{Router, body::Body, http::Request, routing::get};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use http_body_util::BodyExt;
use instruments::{Bundles, Chain, Logs, Observe, Tasks};
use tokio::{runtime::Builder, time::sleep};
use tower::ServiceExt;
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

use crate::{
    forms::Forms,
    support::{PROGRAM, unique},
};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bundles-{}-{}", std::process::id(), unique()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("it is written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn asked(arguments: &[&str], path: &Path) -> Output {
    Command::new(PROGRAM).arg("classify").args(arguments).arg(path).output().expect("it starts")
}

fn told(path: &Path) -> String {
    let told = asked(&[], path);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    String::from_utf8(told.stdout).expect("text")
}

fn refused(path: &Path) -> String {
    let told = asked(&[], path);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    assert!(told.stdout.is_empty(), "{told:?}");
    let said = String::from_utf8(told.stderr).expect("text");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.replace(&*path.display().to_string(), "IT")
}

/// What a service is like for half a minute and more: it keeps what it writes until the end, leaks a task for each request, and
/// calls what is not ready. Its bundles have all of it, or as little as can be.
fn taken(folder: &Path, all: bool) -> PathBuf {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (tasks, chain, logs) = (Tasks::new(), Chain::new(), Logs::new());
        let logs = if all { logs.level(Level::DEBUG) } else { logs };
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(logs.clone()));
        let bundles = Bundles::new(folder).version("shop", "1.4.2");
        let bundles = if all {
            let metrics = "# TYPE http_requests_total counter\n\
                http_requests_total{route=\"/notify\",method=\"GET\",status=\"2xx\",outcome=\"complete\"} 160\n\
                http_requests_total{route=\"/notify\",method=\"GET\",status=\"5xx\",outcome=\"complete\"} 3\n\
                http_requests_in_flight{route=\"/notify\",method=\"GET\"} 2\n";
            bundles.metrics(|| metrics.to_owned()).tasks(&tasks).chain(&chain).logs(&logs)
        } else {
            bundles.logs(&logs)
        };
        let leaky = tasks.clone();
        let notify = async move || {
            leaky.spawn("notify", std::future::pending::<()>());
            let whole = stream::once(async {
                sleep(Duration::from_millis(400)).await;
                Ok::<_, Infallible>("told\n")
            });
            Body::from_stream(whole)
        };
        let app = Router::new().route("/notify", get(notify)).layer(chain.mark("handler")).layer(Observe::new());
        let app: Router = app.with_state(());
        let load = async {
            // No request comes at the moment of a snapshot.
            sleep(Duration::from_millis(110)).await;
            for n in 0..180 {
                let app = app.clone();
                tokio::spawn(async move {
                    let request = Request::get("/notify").body(Body::empty()).expect("a request");
                    let answer = app.oneshot(request).await.expect("an answer");
                    answer.into_body().collect().await.expect("a body");
                });
                if n % 40 == 10 {
                    tracing::error!("a handler panicked: max requests in-flight; poll_ready must be called first");
                }
                sleep(Duration::from_millis(250)).await;
            }
        };
        let bundle = async {
            sleep(Duration::from_secs(39)).await;
            bundles.take("asked").await.expect("a bundle")
        };
        tokio::join!(bundle, load).0
    })
}

#[test]
fn a_bundle_is_classified_by_what_it_holds_and_the_rest_is_not_visible() {
    let folder = Folder::new();
    let text = told(&taken(&folder.0, true));
    for expected in [
        "# What it may be\n\n## 1. `unready-clone` in shop, 98 %\n\n- its log tells of 5 panics",
        "`hidden-flush` in shop, 95 %\n\n- the head comes after 0 ms, the first byte after 400 ms, and the last after 400 ms\n",
        "`swallowed-panic` in shop, 95 %\n",
        "`orphan-task` in shop, 60 %\n\n- in 5 s 20 tasks `notify` began at ",
        "\n## What it says besides\n\n- it was taken because: asked\n- lines of its log: 5, of them at WARN or ERROR: 5; ends of requests in it: 17",
        "- named tasks: 156, and 176 after 5000 ms\n",
        "- since its start: 163 requests, 3 of them 5xx, 0 broken off, 0 left by their clients; 2 are in flight\n",
        "- the slowest of the last requests, GET /notify #",
        " took 400 ms, of them 400 ms for the body of `handler`\n",
        "\n## Not visible\n\n- its tasks, second by second: there are two snapshots\n- the calls of its dependency: ",
        "\nSo nothing is said of `leaked-permit`, `ignored-deadline`, ",
        "\nFirst: ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
    assert!(!text.contains("`leaked-permit` in shop"), "{text}");
    // A folder of bundles: the last of them.
    folder.write("incident-000000000000-0001.tar.gz", b"an older one");
    assert_eq!(told(&folder.0), text);
    let json = asked(&["--json"], &folder.0);
    let report = serde_json::from_slice(&json.stdout).expect("JSON");
    Forms::documented().hold("cargo ghosts classify --json", &report);
}

#[test]
fn a_bundle_with_little_in_it_says_what_it_lacks() {
    let folder = Folder::new();
    let text = told(&taken(&folder.0, false));
    for expected in [
        "`unready-clone` in shop",
        "\n## Not visible\n\n- its requests, second by second: the log that the bundles are given has to keep `instruments::observe` at DEBUG\n",
        "- its tasks: they were not given to the bundles\n",
        "`orphan-task`, `hidden-flush`, `swallowed-panic`, ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
}

#[test]
fn what_is_no_bundle_is_refused_in_one_sentence() {
    let folder = Folder::new();
    let whole = fs::read(taken(&folder.0, false)).expect("a bundle");
    let name = "name a bundle (incident-….tar.gz), a folder of them, or what a drill's page has at /evidence.json";
    let missing = folder.0.join("nowhere.tar.gz");
    let said = refused(&missing);
    assert!(said.starts_with("drill: cannot read IT: ") && said.ends_with(&format!("; {name}\n")), "{said}");
    let neither = "drill: cannot read IT: it is neither a bundle (incident-….tar.gz) nor what a drill's page has at /evidence.json\n";
    for bytes in [&b"not an archive at all"[..], b""] {
        assert_eq!(refused(&folder.write("text.tar.gz", bytes)), neither);
    }
    for length in [2, whole.len() / 2, whole.len() - 1] {
        let said = refused(&folder.write("torn.tar.gz", &whole[..length]));
        let begins = "drill: cannot read IT: this is no bundle: it is torn or something else (";
        assert!(said.starts_with(begins), "{said}");
    }
    let empty = Folder::new();
    assert_eq!(
        refused(&empty.0),
        "drill: cannot read IT: there is no bundle in this folder; bundles are called incident-….tar.gz, and `POST /debug/bundles` takes one\n"
    );
    let newer = "its schema is 2, and 1 is what is read here; a newer clone may read it\n";
    let manifests = [
        (r#"{"schema":2}"#, newer),
        ("{}", "this is no bundle: its manifest.json has no schema\n"),
        ("[", "this is no bundle: its manifest.json is no JSON object\n"),
    ];
    for (manifest, why) in manifests {
        let said = refused(&folder.write("other.tar.gz", &archive(&[("manifest.json", manifest)])));
        assert_eq!(said, format!("drill: cannot read IT: {why}"));
    }
    let snapshot = r#"{"schema":2,"at_ms":0,"unnamed":null,"tasks":[]}"#;
    let parts = [("manifest.json", r#"{"schema":1}"#), ("tasks-before.json", snapshot), ("tasks-after.json", snapshot)];
    let said = refused(&folder.write("tasks.tar.gz", &archive(&parts)));
    assert!(said.contains("tasks-before.json: ") && said.contains("its schema is 2"), "{said}");
    let evidence = r#"{"schema":2,"of":[]}"#;
    assert_eq!(refused(&folder.write("evidence.json", evidence.as_bytes())), format!("drill: cannot read IT: {newer}"));
}

/// Lines of a log that was cut are told, and do no harm.
#[test]
fn lines_that_cannot_be_read_are_counted() {
    let folder = Folder::new();
    let log = "lf\":1}\n{\"ms\":5,\"level\":\"INFO\",\"target\":\"shop\",\"message\":\"hello\",\"n\":7}\n";
    let parts = [("manifest.json", r#"{"schema":1,"reason":"sigquit","cut":["logs.jsonl"]}"#), ("logs.jsonl", log)];
    let text = told(&folder.write("cut.tar.gz", &archive(&parts)));
    for expected in [
        "Nothing that is known here.",
        "- it was taken because: sigquit\n- cut, and so not whole: logs.jsonl\n",
        "- lines of its log: 1, of them at WARN or ERROR: 0; ends of requests in it: 0; lines that cannot be read: 1\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
}

fn archive(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, text.as_bytes()).expect("into a Vec");
    }
    archive.into_inner().expect("into a Vec").finish().expect("into a Vec")
}
