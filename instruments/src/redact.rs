//! What must not be shown: by the name of a header, by the name of a field, and where an address has a password in it.
//!
//! ```
//! use instruments::redact;
//! use serde_json::json;
//!
//! let mut pool = json!({ "size": 8, "url": "postgres://app:hunter2@db/orders", "auth": { "api_key": "k-1" } });
//! redact::json(&mut pool);
//! assert_eq!(pool, json!({ "size": 8, "url": "postgres://[redacted]@db/orders", "auth": { "api_key": "[redacted]" } }));
//! ```

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::Value;

/// What stands in the place of what must not be shown.
pub const REDACTED: &str = "[redacted]";

/// Parts of names whose values are not shown, in lower case and without `-` and `_`.
const SECRET: [&str; 13] = [
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "apikey",
    "accesskey",
    "secret",
    "session",
    "signature",
    "token",
];

/// Whether a header or a field of this name has a value that must not be shown.
pub fn is_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| !['-', '_', ' ', '.'].contains(c)).map(|c| c.to_ascii_lowercase()).collect();
    SECRET.iter().any(|secret| plain.contains(secret))
}

/// Headers as they can be shown: those that are marked as sensitive, or have a secret name, without their value.
pub fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = headers.iter().map(|(name, value)| {
        let hidden = value.is_sensitive() || is_secret(name.as_str());
        let text = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), if hidden { REDACTED.to_owned() } else { self::text(&text) })
    });
    shown.collect()
}

/// Hides every value whose field has a secret name, whatever is in it, and the passwords of addresses.
pub fn json(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match is_secret(name) && !value.is_null() {
                    true => *value = Value::from(REDACTED),
                    false => json(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(json),
        Value::String(string) if string.contains("://") => *string = text(string),
        _ => {}
    }
}

/// Hides what stands before the `@` of each address in a text.
pub fn text(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += "://";
        let host_ends =
            part.find(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace()).unwrap_or(part.len());
        match part[..host_ends].rfind('@') {
            Some(at) => shown = shown + REDACTED + &part[at..],
            None => shown += part,
        }
    }
    shown
}
