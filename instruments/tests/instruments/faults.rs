use std::{convert::Infallible, fs, path::PathBuf, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use instruments::Faults;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::Recorded;

fn rules(text: &str) -> Faults {
    Faults::from_text(text).unwrap()
}

fn app(faults: &Faults) -> Router {
    let whole = async || "0123456789";
    Router::new().route("/parcels/{id}", get(whole)).route("/health", get(whole)).layer(faults.clone())
}

async fn ask(app: &Router, path: &str, header: Option<(&str, &str)>) -> Response<Body> {
    let mut request = Request::get(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn status(app: &Router, path: &str, header: Option<(&str, &str)>) -> u16 {
    ask(app, path, header).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_rule_falls_on_what_fits_and_on_nothing_else() {
    let app = app(&rules(
        r#"
        [[rule]]
        route = "/parcels/{id}"
        header = "x-chaos: yes"
        status = 503
        [[rule]]
        method = "POST"
        status = 418
        [[rule]]
        header = "x-any"
        status = 500
        "#,
    ));
    assert_eq!(status(&app, "/parcels/7", None).await, 200);
    assert_eq!(status(&app, "/parcels/7", Some(("x-chaos", "no"))).await, 200);
    assert_eq!(status(&app, "/health", Some(("x-chaos", "yes"))).await, 200);
    assert_eq!(status(&app, "/health", Some(("x-any", "whatever"))).await, 500);
    let refused = ask(&app, "/parcels/7", Some(("x-chaos", "yes"))).await;
    assert_eq!(
        (refused.status(), refused.headers()["x-fault"].as_bytes()),
        (StatusCode::SERVICE_UNAVAILABLE, &b"refused"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_never_reaches_the_service() {
    let service =
        service_fn(async |_: Request<Body>| -> Result<Response<Full<Bytes>>, Infallible> { panic!("it was called") });
    let answer = rules("[[rule]]\nstatus = 500").layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_the_service_or_the_refusal() {
    for (then, expected) in [("", 200), ("status = 503", 503)] {
        let app = app(&rules(&format!("[[rule]]\ndelay-ms = 300\n{then}")));
        let start = Instant::now();
        assert_eq!(status(&app, "/health", None).await, expected);
        assert_eq!(start.elapsed(), Duration::from_millis(300));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_cut_stalled_or_reset_where_the_rule_says() {
    let whole = async |rule: &str| {
        let mut body = ask(&app(&rules(rule)), "/health", None).await.into_body();
        let (mut text, mut end) = (Vec::new(), "its end");
        loop {
            match timeout(Duration::from_secs(3_600), body.frame()).await {
                Err(_) => end = "nothing more",
                Ok(Some(Err(error))) => {
                    assert_eq!(error.to_string(), "the fault layer breaks this answer");
                    end = "an error";
                }
                Ok(Some(Ok(frame))) => {
                    text.extend(frame.into_data().unwrap());
                    continue;
                }
                Ok(None) => {}
            }
            return (String::from_utf8(text).unwrap(), end);
        }
    };
    let told = |text: &str, end| (text.to_owned(), end);
    assert_eq!(whole("[[rule]]\ncut-after = 4").await, told("0123", "an error"));
    assert_eq!(whole("[[rule]]\nstall-after = 4").await, told("0123", "nothing more"));
    assert_eq!(whole("[[rule]]\nstall-after = 0").await, told("", "nothing more"));
    assert_eq!(whole("[[rule]]\nreset = true").await, told("", "an error"));
    assert_eq!(whole("[[rule]]\ncut-after = 11").await, told("0123456789", "its end"));
}

#[tokio::test(start_paused = true)]
async fn it_panics_in_the_future_that_answers() {
    let app = app(&rules("[[rule]]\npanic = true"));
    let request = Request::get("/health").body(Body::empty()).unwrap();
    assert!(tokio::spawn(app.oneshot(request)).await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_share_is_kept_and_two_runs_are_equal() {
    let run = async |seed: u64, share: f64| {
        let app = app(&rules(&format!("seed = {seed}\n[[rule]]\nshare = {share}\nstatus = 503")));
        let mut refused = Vec::new();
        for n in 0..1_000 {
            if status(&app, "/health", None).await == 503 {
                refused.push(n);
            }
        }
        refused
    };
    let first = run(7, 0.1).await;
    assert_eq!(first, run(7, 0.1).await);
    assert_ne!(first, run(8, 0.1).await);
    // What this seed draws: a figure to compare, not a bound.
    assert_eq!(first.len(), 90);
    assert_eq!((run(7, 0.0).await.len(), run(7, 1.0).await.len()), (0, 1_000));
}

#[tokio::test(start_paused = true)]
async fn two_rules_with_one_seed_draw_apart() {
    let app = app(&rules("[[rule]]\nshare = 0.5\nstatus = 501\n[[rule]]\nshare = 0.5\nstatus = 502"));
    let mut seen = [0; 3];
    for _ in 0..400 {
        match status(&app, "/health", None).await {
            501 => seen[0] += 1,
            502 => seen[1] += 1,
            _ => seen[2] += 1,
        }
    }
    assert!(seen.iter().all(|count| *count > 60), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_counted() {
    let recorded = Recorded::default();
    let _local = metrics::set_default_local_recorder(&recorded);
    let app = app(&rules("[[rule]]\nheader = \"x-cut\"\ncut-after = 1\n[[rule]]\nstatus = 503"));
    ask(&app, "/health", Some(("x-cut", ""))).await;
    ask(&app, "/health", None).await;
    ask(&app, "/health", None).await;
    assert_eq!(recorded.lines(), "faults_injected_total{kind=cut} 1\nfaults_injected_total{kind=refused} 2\n");
}

#[test]
fn a_rule_file_with_nonsense_is_refused_in_one_sentence() {
    let mut told = String::new();
    for text in [
        "rule",
        "seed = -1",
        "seeds = 1",
        "[[rule]]\nstatus = 503\nshares = 0.1",
        "[[rule]]\nstatus = \"503\"",
        "[[rule]]\nstatus = 200",
        "[[rule]]\nstatus = 99",
        "[[rule]]\nstatus = 503\nshare = 1.1",
        "[[rule]]\nstatus = 503\nshare = nan",
        "[[rule]]\nroute = \"/health\"",
        "[[rule]]\nroute = \"health\"\npanic = true",
        "[[rule]]\nmethod = \"G T\"\npanic = true",
        "[[rule]]\nheader = \"x y\"\npanic = true",
        "[[rule]]\nheader = \"x: \\n\\u0001y\"\npanic = true",
        "[[rule]]\nreset = true\npanic = true",
        "[[rule]]\npanic = true\n[[rule]]\ndelay-ms = 600001",
        &"[[rule]]\npanic = true\n".repeat(101),
    ] {
        let why = Faults::from_text(text).unwrap_err().to_string();
        assert!(!why.contains('\n'), "{why}");
        told += &format!("{why}\n");
    }
    insta::assert_snapshot!(told);
}

/// A file that is gone with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_taken_and_a_bad_one_keeps_the_last_good_one() {
    let file = Temporary::new("changed.toml", "[[rule]]\nstatus = 503");
    let faults = Faults::from_file(&file.0).unwrap();
    let app = app(&faults);
    tokio::spawn(faults.clone().watch());
    let look = async || {
        sleep(Duration::from_millis(1_500)).await;
        (status(&app, "/health", None).await, faults.state())
    };
    let (seen, state) = look().await;
    assert_eq!((seen, state.generation, state.refused), (503, 1, None));

    fs::write(&file.0, "[[rule]]\nstatus = 504").unwrap();
    let (seen, state) = look().await;
    assert_eq!((seen, state.generation), (504, 2));

    fs::write(&file.0, "[[rule]]\nstatus = ").unwrap();
    let (seen, state) = look().await;
    assert_eq!((seen, state.generation), (504, 2));
    assert!(state.refused.unwrap().starts_with("line 2: "));

    fs::remove_file(&file.0).unwrap();
    let (seen, state) = look().await;
    assert_eq!(seen, 504);
    assert!(state.refused.unwrap().contains(" cannot be read: "));

    fs::write(&file.0, "").unwrap();
    let (seen, state) = look().await;
    assert_eq!((seen, state.generation, state.rules, state.refused), (200, 3, 0, None));
}

#[test]
fn it_is_off_unless_the_environment_turns_it_on() {
    // Cargo sets no such variable, and neither does the suite.
    let faults = Faults::from_env().unwrap();
    assert!(!faults.state().on);
}

#[test]
fn a_file_that_is_not_there_or_far_too_long_is_refused() {
    let why = Faults::from_file("no/such/file.toml").unwrap_err().to_string();
    assert!(why.starts_with("no/such/file.toml cannot be read: "), "{why}");
    let long = Temporary::new("long.toml", "");
    fs::File::options().write(true).open(&long.0).unwrap().set_len(1 << 40).unwrap();
    let why = Faults::from_file(&long.0).unwrap_err().to_string();
    assert!(why.ends_with(" has 1099511627776 bytes, and 1048576 is the most"), "{why}");
}

#[test]
fn the_rule_file_of_the_example_is_a_good_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway/faults.toml");
    assert_eq!(Faults::from_file(path).unwrap().state().rules, 2);
}
