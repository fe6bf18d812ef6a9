//! The example service under load, in virtual time.

#[path = "../../examples/gateway/app.rs"]
mod app;

use std::{fs, path::Path, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt;
use instruments::{Bundles, Faults, Status, Tasks, bundle, chain::Trace};
use tokio::time::sleep;
use tower::ServiceExt;

use app::{Gateway, Parts};

async fn ask(app: &Router, path: String) -> u16 {
    let answer = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

fn gateway(folder: &str, leaks: bool) -> (Router, Parts, Bundles) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = fs::remove_dir_all(&folder);
    let parts = Parts::new(Tasks::new(), Faults::off(), leaks);
    let bundles = Bundles::new(folder).tasks(&parts.tasks).chain(&parts.chain).heat(&parts.heat);
    let app = Gateway::new(parts.clone(), &bundles).router(Status::default());
    (app, parts, bundles)
}

/// Requests one after the other from three clients, for seven seconds.
async fn load(app: &Router) -> Vec<u16> {
    let client = async |client: u64| {
        let mut seen = Vec::new();
        let until = tokio::time::Instant::now() + Duration::from_secs(7);
        let mut n = client;
        while tokio::time::Instant::now() < until {
            seen.push(ask(app, format!("/parcels/{}", n % 96 + 1)).await);
            seen.push(ask(app, format!("/notify/{n}")).await);
            n += 3;
        }
        seen
    };
    let clients = futures_util::future::join_all((0..3).map(client));
    clients.await.concat()
}

#[tokio::test(start_paused = true)]
async fn under_load_a_bundle_fails_no_request_and_shows_the_leak() {
    let (app, _, bundles) = gateway("gateway-leaks", true);
    let (seen, taken) = tokio::join!(load(&app), async {
        sleep(Duration::from_secs(1)).await;
        bundles.take("asked").await.unwrap()
    });
    assert!(seen.iter().all(|status| [200, 202].contains(status)), "{seen:?}");
    let parts = bundle::read(fs::File::open(taken).unwrap()).unwrap();
    let part = |name: &str| {
        let part = parts.iter().find(|part| part.name == name).unwrap();
        String::from_utf8(part.bytes.clone()).unwrap()
    };
    let difference = part("tasks-difference.txt");
    let first = difference.lines().nth(1).unwrap();
    assert!(first.contains("notify at ") && first.ends_with("only grows"), "{difference}");
    for name in ["timeout", "limit", "auth", "served-by", "faults", "handler"] {
        assert!(part("waterfall.svg").contains(&format!(">{name}</text>")), "{name}");
        assert!(part("layers.json").contains(&format!("\"name\":\"{name}\"")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_leak_nothing_is_left_behind() {
    let (app, parts, _) = gateway("gateway", false);
    let before = parts.tasks.snapshot();
    load(&app).await;
    parts.tasks.back_to(&before, Duration::from_millis(21)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_and_closes_again() {
    let (app, _, _) = gateway("gateway-breaker", false);
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(ask(&app, "/parcels/97".to_owned()).await);
    }
    for _ in 0..10 {
        seen.push(ask(&app, "/parcels/1".to_owned()).await);
    }
    assert_eq!(seen[..7], [502, 502, 502, 502, 502, 503, 503]);
    assert_eq!(seen[7..], [503, 503, 503, 503, 503, 503, 503, 200, 200, 200]);
}

/// What the book shows: a minute of the gateway, in which every tenth answer about a parcel is late from the thirtieth second on.
#[tokio::test(start_paused = true)]
async fn the_pictures_of_the_book_are_what_the_gateway_makes() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway-pictures");
    let late = "seed = 7\n[[rule]]\nheader = \"x-late\"\nroute = \"/parcels/{id}\"\nshare = 0.1\ndelay-ms = 700";
    let parts = Parts::new(Tasks::new(), Faults::from_text(late).unwrap(), false);
    let bundles = Bundles::new(folder);
    let app = Gateway::new(parts.clone(), &bundles).router(Status::default());
    let start = tokio::time::Instant::now();
    let client = async |client: u64| {
        let mut slowest: Option<Trace> = None;
        for n in 0..160 {
            let mut request = Request::get(if n % 4 == 3 {
                "/notify/1".to_owned()
            } else {
                format!("/parcels/{}", (n + client) % 90 + 1)
            });
            if start.elapsed() >= Duration::from_secs(30) {
                request = request.header("x-late", "");
            }
            let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            answer.into_body().collect().await.unwrap();
            let last = parts.chain.ended().pop();
            slowest = last.into_iter().chain(slowest).max_by_key(Trace::age);
            sleep(Duration::from_millis(300 + 7 * client)).await;
        }
        slowest.unwrap()
    };
    let mut slowest = futures_util::future::join_all((0..3).map(client)).await;
    slowest.sort_by_key(Trace::age);
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("pictures");
    for (name, made) in [("heat.svg", parts.heat.to_svg()), ("waterfall.svg", slowest.pop().unwrap().to_svg())] {
        let path = pictures.join(name);
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(
            there == made,
            "instruments/pictures/{name} is not what is made now: UPDATE_PICTURES=1 cargo test -p instruments pictures"
        );
    }
}
