//! What the suite holds a layer to. Each clause stands beside its proof.

mod cancel;
mod coded;
mod concurrency;
mod content;
mod error;
mod head;
mod reached;
mod readiness;
mod reserved;
mod streaming;
mod upgrade;
mod wire;

use std::{pin::Pin, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::stand::{Proof, Stand};

/// One thing that the suite holds a layer to.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// Its kebab-case name. It does not change.
    pub key: &'static str,
    /// The clause itself, one definite sentence.
    pub sentence: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The documentation that it rests on.
    pub source: &'static str,
    /// The slug of the ghost that a breach becomes in production.
    pub ghost: Option<&'static str>,
    pub(crate) prove: Prove,
}

pub(crate) type Prove = fn(Stand) -> Pin<Box<dyn Future<Output = Proof>>>;

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The documentation of tower-service, http-body or HTTP demands it.
    Must,
    /// A client or a service can rely on it unless the layer's documentation says otherwise.
    Should,
    /// Good to know. A breach is told, and counts for nothing.
    Info,
}

/// Whether the clause speaks of readiness and of what it reserves, so that a call without it explains a breach. What becomes of
/// heads and bodies has another cause, also in a layer that makes such calls.
pub(crate) fn is_about_readiness(key: &str) -> bool {
    readiness::ALL.iter().chain(reserved::ALL).any(|clause| clause.key == key)
}

/// All clauses, in the order in which they are judged.
pub fn clauses() -> &'static [Clause] {
    static ALL: LazyLock<Vec<Clause>> = LazyLock::new(|| {
        [
            reached::ALL,
            readiness::ALL,
            reserved::ALL,
            concurrency::ALL,
            cancel::ALL,
            streaming::ALL,
            content::ALL,
            coded::ALL,
            head::ALL,
            error::ALL,
            wire::ALL,
            upgrade::ALL,
        ]
        .concat()
    });
    &ALL
}
