//! What does *your* layer leave alone? One call holds any [`tower::Layer`] over an HTTP service, or what an axum app puts round
//! its routes, against what such a middleware has to preserve.

mod body;
mod clauses;
mod contract;
#[doc(hidden)]
pub mod fits;
mod judge;
mod probe;
mod report;
mod stand;
mod subject;

pub use clauses::{Clause, Level, clauses};
pub use contract::Contract;
pub use judge::{check, judge};
pub use lab::{self, Limits};
pub use probe::{Fault, Probe};
pub use report::{Conformance, Judged, Outcome};
pub use subject::Subject;
