use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use http_body_util::BodyExt;
use instruments::{
    Bundles, Chain, Heat, Logs, Observe, Status, Tasks,
    bundle::{KEPT, MOST_BYTES, NotTaken, PANICS, read},
};
use serde_json::Value;
use tokio::time::{Instant, advance, sleep};
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn parts(path: &Path) -> BTreeMap<String, String> {
    let parts = read(fs::File::open(path).unwrap()).unwrap();
    parts.into_iter().map(|part| (part.name, String::from_utf8(part.bytes).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bundle_has_what_the_parts_know_and_a_leak_is_in_its_difference() {
    let folder = Folder::new("whole");
    let (tasks, chain, heat, logs) = (Tasks::new(), Chain::new(), Heat::new(), Logs::new());
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(logs.clone()));
    let bundles = Bundles::new(&folder.0)
        .version("shop", "1.4.2")
        .version("commit", "50ba480")
        .generation(|| 7)
        .metrics(|| "up 1\n".to_owned())
        .tasks(&tasks)
        .chain(&chain)
        .heat(&heat)
        .logs(&logs);
    let leaky = tasks.clone();
    let app = Router::new()
        .route("/notify", get(async move || drop(leaky.spawn("notify", std::future::pending::<()>()))))
        .layer(chain.mark("handler"))
        .layer(Observe::new().then(heat.recorder()))
        .with_state(());
    let load = async {
        for n in 0..20 {
            let answer = app.clone().oneshot(Request::get("/notify").body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 200);
            tracing::warn!(n, password = "hunter2", "notified");
            sleep(Duration::from_millis(250)).await;
        }
    };
    let start = Instant::now();
    let (path, ()) = tokio::join!(bundles.take("asked"), load);
    assert_eq!(start.elapsed(), Duration::from_secs(5), "no request waits for the bundle");
    let parts = parts(&path.unwrap());
    assert_eq!(
        Vec::from_iter(parts.keys()),
        [
            "heat.svg",
            "layers.json",
            "logs.jsonl",
            "manifest.json",
            "metrics.txt",
            "requests.txt",
            "tasks-after.json",
            "tasks-before.json",
            "tasks-difference.txt",
            "trace.json",
            "waterfall.svg"
        ]
    );
    let mut manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    assert!(manifest["unix_seconds"].take().is_u64());
    insta::assert_snapshot!(manifest);
    let difference = &parts["tasks-difference.txt"];
    assert!(difference.contains("  +20  notify at ") && difference.contains("only grows"), "{difference}");
    assert!(parts["logs.jsonl"].contains("\"message\":\"notified\"") && !parts["logs.jsonl"].contains("hunter2"));
    assert_eq!(parts["metrics.txt"], "up 1\n");
}

#[tokio::test(start_paused = true)]
async fn the_last_three_are_kept_and_nothing_else_is_touched() {
    let folder = Folder::new("three");
    fs::create_dir_all(&folder.0).unwrap();
    fs::write(folder.0.join("notes.txt"), "of somebody else").unwrap();
    // What a process that was killed has left.
    fs::write(folder.0.join(".incident.partial"), "half").unwrap();
    let bundles = Bundles::new(&folder.0);
    let mut taken = Vec::new();
    for _ in 0..KEPT + 2 {
        taken.push(bundles.take("asked").await.unwrap());
    }
    assert_eq!(bundles.list().unwrap(), taken[2..]);
    assert_eq!(folder.names().len(), KEPT + 1);
    assert!(parts(&taken[4]).contains_key("manifest.json"));
}

#[tokio::test(start_paused = true)]
async fn one_is_taken_at_a_time() {
    let folder = Folder::new("once");
    let bundles = Bundles::new(&folder.0).tasks(&Tasks::new());
    let (first, second) = tokio::join!(bundles.take("asked"), bundles.take("asked"));
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().to_string(), "a bundle is being taken already");
    // Who leaves while the tasks are watched lets the next one in.
    let left = tokio::time::timeout(Duration::from_secs(1), bundles.take("asked")).await;
    assert!(left.is_err());
    bundles.take("asked").await.unwrap();
    assert_eq!(folder.names().len(), 2);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let folder = Folder::new("full");
    fs::create_dir_all(&folder.0).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.0.join(".incident.partial")).unwrap();
    let bundles = Bundles::new(&folder.0);
    let status = Status::new("a-token-of-the-test").unwrap().bundles(&bundles);
    let app: Router = Router::new().merge(status.router());
    let ask = async || {
        let request = Request::post("/debug/bundles").header("authorization", "Bearer a-token-of-the-test");
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    let (status, told) = ask().await;
    assert_eq!(status, 507);
    assert!(told.starts_with("the bundle could not be written: ") && told.lines().count() == 1, "{told}");
    assert_eq!(folder.names(), [""; 0]);
    // The disk has room again.
    let (status, told) = ask().await;
    assert_eq!((status, told), (201, format!(r#"{{"bundle":"{}"}}"#, folder.names()[0])));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_none_is_told() {
    let folder = Folder::new("none");
    fs::write(&folder.0, "a file").unwrap();
    assert!(matches!(Bundles::new(&folder.0).take("asked").await, Err(NotTaken::Disk(_))));
    fs::remove_file(&folder.0).unwrap();
    assert!(Bundles::new(&folder.0).list().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ten_panics_in_ten_seconds_take_one_and_slower_ones_do_not() {
    let folder = Folder::new("panics");
    let bundles = Bundles::new(&folder.0);
    tokio::spawn(bundles.clone().watch());
    let app = Router::new()
        .route("/", get(async || -> &str { panic!("on purpose") }))
        .layer(Observe::new().then(bundles.recorder()));
    let panics = async |many: usize, every: u64| {
        for _ in 0..many {
            let request = Request::get("/").body(Body::empty()).unwrap();
            tokio::spawn(app.clone().oneshot(request)).await.unwrap_err();
            advance(Duration::from_millis(every)).await;
        }
        // The thread that writes keeps the clock still.
        sleep(Duration::from_secs(1)).await;
        folder.names().len()
    };
    assert_eq!(panics(3 * PANICS, 1_200).await, 0);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(panics(PANICS - 1, 100).await, 0);
    assert_eq!(panics(1, 100).await, 1);
    assert_eq!(panics(PANICS - 1, 100).await, 1, "each bundle needs panics of its own");
}

#[tokio::test(start_paused = true)]
async fn a_part_is_cut_where_it_matters_less() {
    let folder = Folder::new("cut");
    let long = || "ä".repeat(MOST_BYTES / 2 + 7);
    let path = Bundles::new(&folder.0).metrics(move || format!("x{}", long())).take("asked").await.unwrap();
    let parts = parts(&path);
    assert_eq!(parts["metrics.txt"].len(), MOST_BYTES - 1, "a sign is not cut in two");
    assert!(parts["manifest.json"].contains(r#""cut":["metrics.txt"]"#));
}

/// An archive with these entries; a name is written as it is.
fn archive(entries: &[(&str, tar::EntryType, u64, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, kind, claims, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(*claims);
        header.set_mode(0o644);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(*bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1_024, 0);
    packed(&tar)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn hostile_bundles_are_refused_in_a_sentence() {
    use tar::EntryType as Kind;
    let file = |name| [("manifest.json", Kind::Regular, 2, &b"{}"[..]), (name, Kind::Regular, 1, &b"x"[..])];
    let mut told = String::new();
    for name in ["../evil", "/etc/passwd", "a/b", "..", "a\\..\\b", "c:evil", "manifest.json"] {
        let why = read(&*archive(&file(name))).unwrap_err().to_string();
        told += &format!("{name}: {why}\n");
    }
    let whole = archive(&file("logs.jsonl"));
    assert_eq!(read(&*whole).unwrap().len(), 2);
    let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), Kind::Regular, 0, &b""[..])).collect();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("10 GB claimed", archive(&[("manifest.json", Kind::Regular, 10 << 30, &b"{}"[..])])),
        ("a link", archive(&[("manifest.json", Kind::Symlink, 0, &b""[..])])),
        ("a folder", archive(&[("manifest.json", Kind::Directory, 0, &b""[..])])),
        ("40 parts", archive(&many)),
        ("no manifest", archive(&[("logs.jsonl", Kind::Regular, 1, &b"x"[..])])),
        ("nothing", Vec::new()),
        ("text", b"not an archive at all".to_vec()),
        ("a bomb", packed(&vec![0; 256 << 20])),
        ("text, packed", packed(&[b'x'; 2_000])),
        ("another checksum", other),
    ];
    for (name, bytes) in cases {
        let why = read(&*bytes).unwrap_err().to_string();
        assert_eq!(why.lines().count(), 1);
        told += &format!("{name}: {why}\n");
    }
    insta::assert_snapshot!(told);
    // Torn anywhere, it is refused.
    for length in 0..whole.len() {
        read(&whole[..length]).unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn taking_one_fails_no_request_and_keeps_none_waiting() {
    let folder = Folder::new("load");
    let (tasks, chain) = (Tasks::new(), Chain::new());
    let bundles = Bundles::new(&folder.0).tasks(&tasks).chain(&chain);
    let app = Router::new()
        .route("/", get(async || sleep(Duration::from_millis(3)).await))
        .layer(chain.mark("handler"))
        .with_state(());
    let taking = tasks.spawn("bundle", async move { bundles.take("asked").await });
    let mut requests = 0;
    while !taking.is_finished() {
        let start = Instant::now();
        let answer = app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), start.elapsed()), (200, Duration::from_millis(3)));
        requests += 1;
    }
    taking.await.unwrap().unwrap();
    assert!(requests > 1_600, "{requests}");
}
