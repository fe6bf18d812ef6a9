//! The looks that cost minutes on the drill's clock.

use std::{
    cmp::Reverse,
    fmt::Write,
    io::{self, Read},
    net::SocketAddr,
    time::Duration,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST},
    },
};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::{
    edge,
    evidence::{Line, Point},
    field::Field,
    served::{Served, ms},
};

/// A look.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "look", rename_all = "kebab-case")]
pub enum Look {
    /// The waterfall of the slowest request of the last half minute.
    Waterfall {
        /// The service.
        service: String,
    },
    /// What tasks there are, and were a minute ago.
    Tasks {
        /// The service.
        service: String,
    },
    /// What the dependency has seen.
    Dependency {
        /// The service.
        service: String,
    },
    /// All of it, with a report.
    Bundle {
        /// The service.
        service: String,
    },
    /// A request of your own.
    Ask {
        /// The service.
        service: String,
        /// The method.
        #[serde(default)]
        method: String,
        /// Where it goes below the service.
        path: String,
        /// A header, as `name: value`, or nothing.
        #[serde(default)]
        header: String,
    },
}

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Shown {
    /// When, in seconds of the drill's clock.
    pub at_s: f64,
    /// What it cost.
    pub minutes: u32,
    /// What it was.
    pub title: String,
    /// What it shows.
    pub text: String,
}

/// How long a request of one's own may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// How many characters of a body are shown.
const SHOWN: usize = 600;
/// How many calls a waterfall shows.
const CALLS: usize = 6;
/// How many lines of a dependency are shown: what it says seldom is to be among them.
const SAID: usize = 20;
/// How wide a bar of the waterfall is.
const BAR: usize = 24;

impl Look {
    /// The service that is looked at.
    pub fn service(&self) -> &str {
        match self {
            Self::Waterfall { service }
            | Self::Tasks { service }
            | Self::Dependency { service }
            | Self::Bundle { service }
            | Self::Ask { service, .. } => service,
        }
    }

    /// What it costs, in minutes of the drill's clock.
    pub fn minutes(&self) -> u32 {
        match self {
            Self::Ask { .. } => 1,
            Self::Waterfall { .. } | Self::Tasks { .. } | Self::Dependency { .. } => 2,
            Self::Bundle { .. } => 4,
        }
    }

    /// What it is.
    pub fn title(&self) -> String {
        let service = self.service();
        match self {
            Self::Waterfall { .. } => format!("{service}: its slowest request"),
            Self::Tasks { .. } => format!("{service}: its tasks"),
            Self::Dependency { .. } => format!("{service}: what its dependency has seen"),
            Self::Bundle { .. } => format!("{service}: a bundle"),
            Self::Ask { method, path, .. } => format!("{service}: {} {}", shown_method(method), shown_path(path)),
        }
    }

    /// Why it cannot be asked for; there is no reason with most.
    pub(crate) fn can_be_asked(&self) -> Result<(), String> {
        let Self::Ask { service, method, path, header } = self else { return Ok(()) };
        // Which edge it goes to makes no difference.
        request(SocketAddr::from(([127, 0, 0, 1], 80)), service, method, path, header).map(drop)
    }
}

fn shown_method(method: &str) -> String {
    let method = method.trim();
    if method.is_empty() { "GET".to_owned() } else { method.to_uppercase() }
}

/// The path as it is typed, whose first slash may be left out.
fn shown_path(path: &str) -> String {
    format!("/{}", path.trim().trim_start_matches('/'))
}

/// A header that is typed as `name: value`, if one is.
fn header_of(typed: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    if typed.trim().is_empty() {
        return Ok(None);
    }
    let named = typed.split_once(':').and_then(|(name, value)| {
        Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
    });
    named.map(Some).ok_or_else(|| format!("`{}` is no header: type it as NAME: VALUE", typed.trim().escape_debug()))
}

/// The request that is asked for. A header of one's own stands in for the one that is sent otherwise.
fn request(edge: SocketAddr, service: &str, method: &str, path: &str, header: &str) -> Result<Request<Body>, String> {
    let (method, path) = (shown_method(method), shown_path(path));
    let method: Method = method.parse().map_err(|_| format!("`{}` is no method", method.escape_debug()))?;
    let uri = format!("/{service}{path}");
    let mut request = Request::builder()
        .method(method)
        .uri(&uri)
        .header(HOST, edge.to_string())
        .header("x-request-id", "on-call")
        .header(ACCEPT_ENCODING, "gzip")
        .body(Body::empty())
        .map_err(|_| format!("`{}` is no path", path.escape_debug()))?;
    if let Some((name, value)) = header_of(header)? {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// What a look at the service in this place shows.
pub(crate) async fn text(look: &Look, field: &Field, place: usize) -> String {
    let served = &field.served[place];
    let samples = field.samples_since(0);
    let points: Vec<&Point> = samples.iter().filter_map(|sample| sample.points.get(place)).collect();
    match look {
        Look::Waterfall { .. } => waterfall(served),
        Look::Tasks { .. } => tasks(served, &points),
        Look::Dependency { .. } => dependency(served, &points),
        Look::Bundle { .. } => {
            let lines = field.lines_since(0);
            let dropped = lines.first().is_some_and(|line| line.number > 0);
            let none = if dropped {
                format!("(nothing among the last {} lines)", lines.len())
            } else {
                "(nothing)".to_owned()
            };
            let end = |has: &dyn Fn(&Line) -> bool| {
                let told = lines.iter().filter(|line| has(line)).map(|line| format!("{} {}", line.level, line.text));
                let told: Vec<String> = told.collect();
                if told.is_empty() { none.clone() } else { told[told.len().saturating_sub(12)..].join("\n") }
            };
            let about = format!("{} ", served.name);
            format!(
                "{}\n{}\n{}\n{}\nThe end of its own log\n{}\n\nWhat the edge last logged of it\n{}\n",
                report(&points),
                tasks(served, &points),
                dependency(served, &points),
                waterfall(served),
                end(&|line| line.from == served.name),
                end(&|line| line.from == "edge" && line.text.starts_with(&about))
            )
        }
        Look::Ask { service, method, path, header } => match request(field.edge(), service, method, path, header) {
            Ok(request) => {
                let words = format!("{} {} {}", shown_method(method), shown_path(path), header.trim());
                format!("{}\n{}", words.trim_end(), ask(field.edge(), request).await)
            }
            Err(why) => format!("{why}\n"),
        },
    }
}

fn waterfall(served: &Served) -> String {
    let now = Instant::now();
    let recent = served.last().into_iter().filter(|seen| now - seen.start < Duration::from_secs(30) + seen.last);
    let Some(slowest) = recent.max_by_key(|seen| seen.last) else {
        return "The slowest request\nNone has ended in the last half minute.\n".to_owned();
    };
    let status = slowest.status.map_or("no head".to_owned(), |status| status.as_u16().to_string());
    let mut text = format!(
        "The slowest request of the last half minute\n{} {}: {status}, {}, {} bytes\n",
        slowest.method, slowest.route, slowest.outcome, slowest.bytes
    );
    let whole = slowest.last.max(Duration::from_millis(1));
    let mut bar = |name: &str, from: Duration, until: Duration| {
        let at = |time: Duration| ((time.as_secs_f64() / whole.as_secs_f64()).min(1.0) * BAR as f64).round() as usize;
        let (left, right) = (at(from).min(BAR - 1), at(until).max(at(from) + 1).min(BAR));
        let drawn: String = (0..BAR).map(|place| if (left..right).contains(&place) { '█' } else { '·' }).collect();
        writeln!(text, "{drawn} {:.0}..{:.0} ms, {name}", ms(from), ms(until)).expect("into a String");
    };
    let head = slowest.head.unwrap_or(slowest.last);
    bar("until its head", Duration::ZERO, head);
    if let Some(first) = slowest.first {
        bar("head to first byte", head, first);
        bar("first byte to last", first, slowest.last);
    }
    let end = slowest.start + slowest.last;
    let ended = served.part.ended().into_iter().map(|call| (call.began, call.took, call.what, call.how.as_str()));
    let open = served.part.open().into_iter().map(|(what, began)| (began, began.elapsed(), what, "goes on"));
    let calls: Vec<_> = ended.chain(open).filter(|(began, ..)| (slowest.start..=end).contains(began)).collect();
    let all = calls.len();
    for (began, took, what, how) in longest(calls) {
        let from = began - slowest.start;
        bar(&format!("dependency: {what}, {how}"), from, from + took);
    }
    if all > CALLS {
        writeln!(text, "The {CALLS} longest of {all} calls of the dependency").expect("into a String");
    }
    text + "The calls are those that began meanwhile, whoever made them: the service tells nobody for which request it calls.\n\
            In which of its layers the rest went: not visible. It would have to name them.\n"
}

/// A call of the dependency: when it began, how long it took, what it was, and how it ended.
type Called = (Instant, Duration, String, &'static str);

/// The longest calls, in the order in which they began.
fn longest(mut calls: Vec<Called>) -> Vec<Called> {
    calls.sort_by_key(|(_, took, ..)| Reverse(*took));
    calls.truncate(CALLS);
    calls.sort_by_key(|(began, ..)| *began);
    calls
}

fn tasks(served: &Served, points: &[&Point]) -> String {
    let before = points.len().checked_sub(60).map_or(points.first(), |place| points.get(place));
    let tasks = served.tasks();
    let mut text = "Tasks of its runtime\n".to_owned();
    if let Some(before) = before {
        writeln!(text, "a minute ago {}, now {tasks} ({:+})", before.tasks, tasks as i64 - before.tasks as i64)
            .expect("into a String");
    }
    let (connections, in_flight) = (served.connections(), served.in_flight());
    writeln!(text, "{connections} connections are open, one task each; {in_flight} requests are in flight")
        .expect("into a String");
    writeln!(text, "{} tasks are neither", tasks.saturating_sub(connections)).expect("into a String");
    text + "Where they were spawned: not visible. The service would have to spawn them by name.\n"
}

fn dependency(served: &Served, points: &[&Point]) -> String {
    let minute = &points[points.len().saturating_sub(60)..];
    let sum = |of: fn(&Point) -> u64| minute.iter().map(|point| of(point)).sum::<u64>();
    let mut text = format!(
        "What its dependency has seen in the last minute\n{} calls began; {} served, {} failed, {} given up by the service\n",
        sum(|point| point.dependency.calls),
        sum(|point| point.dependency.served),
        sum(|point| point.dependency.failed),
        sum(|point| point.dependency.given_up),
    );
    let mut told = |line: String| text = format!("{text}{line}\n");
    let open = served.part.open();
    told(format!("{} go on, while {} requests are in flight", open.len(), served.in_flight()));
    for (what, since) in open.iter().take(5) {
        told(format!("  {what}: for {:.1} s", since.elapsed().as_secs_f64()));
    }
    let ended = served.part.ended();
    told("The last that ended".to_owned());
    for call in &ended[ended.len().saturating_sub(8)..] {
        told(format!(
            "  {:.1} s ago, {}: {} after {:.0} ms",
            (call.began + call.took).elapsed().as_secs_f64(),
            call.what,
            call.how.as_str(),
            ms(call.took)
        ));
    }
    let lines = served.part.lines();
    if !lines.is_empty() {
        told("The last that it said".to_owned());
        for (at, line) in &lines[lines.len().saturating_sub(SAID)..] {
            told(format!("  {:.1} s ago, {line}", at.elapsed().as_secs_f64()));
        }
    }
    text
}

/// The first seconds beside the last.
fn report(points: &[&Point]) -> String {
    let (before, now) = (&points[..points.len().min(15)], &points[points.len().saturating_sub(15)..]);
    let mut text = "The first fifteen seconds, and the last\n".to_owned();
    for (row, (name, _)) in rows(&Point::default()).iter().enumerate() {
        let mean =
            |points: &[&Point]| points.iter().map(|point| rows(point)[row].1).sum::<f64>() / points.len().max(1) as f64;
        writeln!(text, "{name:24} {:>9.1} {:>9.1}", mean(before), mean(now)).expect("into a String");
    }
    text
}

/// The numbers of a second, as the report has them.
pub(crate) fn rows(point: &Point) -> [(&'static str, f64); 11] {
    [
        ("requests a second", point.requests as f64),
        ("5xx a second", point.errors as f64),
        ("broken off a second", point.broken as f64),
        ("P99 in ms", point.p99_ms),
        ("first byte, P95 in ms", point.first_byte_ms),
        ("in flight", point.in_flight as f64),
        ("tasks", point.tasks as f64),
        ("connections", point.connections as f64),
        ("calls of the dependency", point.dependency.calls as f64),
        ("failed calls of it", point.dependency.failed as f64),
        ("open at the dependency", point.dependency.open as f64),
    ]
}

async fn ask(edge: SocketAddr, request: Request<Body>) -> String {
    let start = Instant::now();
    let mut text = String::new();
    let mut told = |line: String| text = format!("{text}{line}\n");
    let asked = timeout(PATIENCE, edge::asked(edge, request)).await;
    let answer = match asked {
        Err(_) => {
            told(format!("nothing came in {} s, and I hung up", PATIENCE.as_secs()));
            return text;
        }
        Ok(Err(why)) => {
            told(why);
            return text;
        }
        Ok(Ok(answer)) => answer,
    };
    told(format!("{} after {:.0} ms", answer.status(), ms(start.elapsed())));
    for (name, value) in answer.headers() {
        told(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    let headers = answer.headers().clone();
    let (mut chunks, mut bytes) = (answer.into_body().into_data_stream(), Vec::new());
    let end = loop {
        match timeout(PATIENCE.saturating_sub(start.elapsed()), chunks.next()).await {
            Err(_) => break "and it went on when I hung up".to_owned(),
            Ok(None) => break format!("ended after {:.0} ms", ms(start.elapsed())),
            Ok(Some(Err(_))) => break format!("broke off after {:.0} ms", ms(start.elapsed())),
            Ok(Some(Ok(chunk))) => {
                told(format!("{} bytes after {:.0} ms", chunk.len(), ms(start.elapsed())));
                bytes.extend_from_slice(&chunk);
            }
        }
    };
    told(end);
    told(body(&headers, &bytes));
    text
}

/// A body as it is shown: what was compressed is read.
fn body(headers: &HeaderMap, bytes: &[u8]) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(SHOWN).collect::<String>();
    match headers.get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("something else")) {
        None | Some("identity") => shown(bytes),
        Some("gzip") => {
            let mut plain = Vec::new();
            // What has come of a body that broke off can be read, too.
            let _: io::Result<usize> = MultiGzDecoder::new(bytes).take(4 * SHOWN as u64).read_to_end(&mut plain);
            format!("unzipped, it says\n{}", shown(&plain))
        }
        Some(coding) => format!("it is in {coding}, which is not read here"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn asked(method: &str, path: &str, header: &str) -> Result<Request<Body>, String> {
        request(SocketAddr::from(([127, 0, 0, 1], 80)), "stock", method, path, header)
    }

    #[test]
    fn a_header_of_ones_own_stands_in_for_ours() {
        for (header, name) in [
            ("Accept-Encoding: identity", "accept-encoding"),
            ("host: else", "host"),
            ("x-request-id:7", "x-request-id"),
        ] {
            let request = asked("", "/cups", header).unwrap();
            let sent: Vec<_> = request.headers().get_all(name).iter().collect();
            assert_eq!(sent, [header.split_once(':').unwrap().1.trim()], "{name}");
            assert_eq!(request.headers().len(), 3);
        }
        assert_eq!(asked("", "/cups", "authorization: Bearer ada").unwrap().headers().len(), 4);
        assert_eq!(asked("", "/cups", "").unwrap().uri(), "/stock/cups");
        assert_eq!(asked("post", "cups", "").unwrap().method(), Method::POST);
    }

    #[test]
    fn what_is_no_request_says_so() {
        for (method, path, header, why) in [
            ("", "/cups", "identity", "`identity` is no header: type it as NAME: VALUE"),
            ("", "/cups", "a b: c", "`a b: c` is no header: type it as NAME: VALUE"),
            ("G T", "/cups", "", "`G T` is no method"),
            ("", "/cu ps", "", "`/cu ps` is no path"),
        ] {
            assert_eq!(asked(method, path, header).unwrap_err(), why);
        }
    }

    #[test]
    fn what_was_compressed_can_be_read_also_where_it_broke_off() {
        let mut zip = GzEncoder::new(Vec::new(), Compression::default());
        zip.write_all(b"build passed\n").unwrap();
        zip.flush().unwrap();
        let mut begun = zip.get_ref().clone();
        let coding =
            |coding: &'static str| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        assert_eq!(body(&coding("gzip"), &begun), "unzipped, it says\nbuild passed\n");
        begun = zip.finish().unwrap();
        assert_eq!(body(&coding("gzip"), &begun), "unzipped, it says\nbuild passed\n");
        assert_eq!(body(&coding("br"), &begun), "it is in br, which is not read here");
        assert_eq!(body(&HeaderMap::new(), b"plain"), "plain");
    }

    #[test]
    fn the_longest_calls_are_shown_in_their_order() {
        let start = Instant::now();
        let called = |number: u64| {
            let took = if number.is_multiple_of(2) { 60 } else { 4000 + number };
            (start + Duration::from_millis(number), Duration::from_millis(took), number.to_string(), "goes on")
        };
        let shown: Vec<String> =
            longest((0..20).map(called).collect()).into_iter().map(|(_, _, what, _)| what).collect();
        assert_eq!(shown, ["9", "11", "13", "15", "17", "19"]);
    }
}
