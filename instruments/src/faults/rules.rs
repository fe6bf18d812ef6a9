//! What a rule file says, checked.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;

const MOST_RULES: usize = 100;
const LONGEST_DELAY_MS: u64 = 600_000;

/// The rule file cannot be used; the sentence says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRules(pub(super) String);

impl fmt::Display for BadRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRules {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    rule: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    route: Option<String>,
    method: Option<String>,
    header: Option<String>,
    share: Option<f64>,
    delay_ms: Option<u64>,
    status: Option<u16>,
    #[serde(default)]
    reset: bool,
    stall_after: Option<u64>,
    cut_after: Option<u64>,
    #[serde(default)]
    panic: bool,
}

pub(super) struct Rules {
    seed: u64,
    rules: Vec<Rule>,
}

struct Rule {
    route: Option<String>,
    method: Option<Method>,
    header: Option<(HeaderName, Option<HeaderValue>)>,
    share: f64,
    fault: Fault,
    /// How many requests fitted.
    fitted: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub(super) delay: Option<Duration>,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Then {
    #[default]
    Nothing,
    Refuse(StatusCode),
    Reset,
    StallAfter(u64),
    CutAfter(u64),
    Panic,
}

impl Rules {
    pub(super) fn parse(text: &str) -> Result<Self, BadRules> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            BadRules(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        if file.rule.len() > MOST_RULES {
            return Err(BadRules(format!("there are {} rules, and {MOST_RULES} is the most", file.rule.len())));
        }
        let checked = |(n, written): (usize, Written)| {
            written.checked().map_err(|why| BadRules(format!("rule {}: {why}", n + 1)))
        };
        let rules = file.rule.into_iter().enumerate().map(checked).collect::<Result<_, _>>()?;
        Ok(Self { seed: file.seed, rules })
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// What happens to this request.
    pub(super) fn fault(&self, route: Option<&str>, method: &Method, headers: &HeaderMap) -> Option<Fault> {
        for (r, rule) in self.rules.iter().enumerate() {
            if rule.fits(route, method, headers) {
                let n = rule.fitted.fetch_add(1, Ordering::Relaxed);
                if drawn(self.seed, r as u64, n) < rule.share {
                    return Some(rule.fault);
                }
            }
        }
        None
    }
}

impl Rule {
    fn fits(&self, route: Option<&str>, method: &Method, headers: &HeaderMap) -> bool {
        self.route.as_deref().is_none_or(|wanted| route == Some(wanted))
            && self.method.as_ref().is_none_or(|wanted| method == wanted)
            && self.header.as_ref().is_none_or(|(name, value)| match value {
                None => headers.contains_key(name),
                Some(value) => headers.get_all(name).iter().any(|sent| sent == value),
            })
    }
}

impl Written {
    fn checked(self) -> Result<Rule, String> {
        let share = self.share.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("a share is from 0 to 1, and this one is {share}"));
        }
        let method = self
            .method
            .map(|method| Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method")));
        let header = self.header.map(|header| {
            let (name, value) = match header.split_once(':') {
                None => (header.trim(), None),
                Some((name, value)) => (name.trim(), Some(value.trim())),
            };
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no name of a header"))?;
            let value = value.map(HeaderValue::from_str).transpose();
            Ok::<_, String>((name, value.map_err(|_| format!("{header:?} has no value that a header can have"))?))
        });
        if let Some(route) = self.route.as_ref().filter(|route| !route.starts_with('/')) {
            return Err(format!("a route begins with /, and this one is {route:?}"));
        }
        if let Some(delay) = self.delay_ms.filter(|delay| *delay > LONGEST_DELAY_MS) {
            return Err(format!("a delay is at most {LONGEST_DELAY_MS} ms, and this one is {delay}"));
        }
        let status = self.status.map(|status| match StatusCode::from_u16(status) {
            Ok(code) if code.is_client_error() || code.is_server_error() => Ok(Then::Refuse(code)),
            _ => Err(format!("a status that refuses is from 400 to 599, and this one is {status}")),
        });
        let mut then = Vec::from_iter(status.transpose()?);
        then.extend(self.reset.then_some(Then::Reset));
        then.extend(self.stall_after.map(Then::StallAfter));
        then.extend(self.cut_after.map(Then::CutAfter));
        then.extend(self.panic.then_some(Then::Panic));
        if then.len() > 1 {
            return Err("it does more than one of status, reset, stall-after, cut-after and panic".to_owned());
        }
        let fault = Fault { delay: self.delay_ms.map(Duration::from_millis), then: then.pop().unwrap_or_default() };
        if fault == Fault::default() {
            return Err(
                "it does nothing: delay-ms, status, reset, stall-after, cut-after or panic is missing".to_owned()
            );
        }
        let (method, header) = (method.transpose()?, header.transpose()?);
        Ok(Rule { route: self.route, method, header, share, fault, fitted: AtomicU64::new(0) })
    }
}

/// From 0 to below 1, the same for the same three: splitmix64, which needs no state that threads would share.
fn drawn(seed: u64, rule: u64, n: u64) -> f64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = seed;
    for part in [rule, n] {
        mixed = mixed.wrapping_add(part.wrapping_add(1).wrapping_mul(STEP));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
