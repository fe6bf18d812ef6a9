//! What finds a ghost in a running service. Each part is put into an axum or tower service by one line, and works without the others.
//!
//! | part | what it tells |
//! |---|---|
//! | [`Observe`] | each request by its route: status, times to head, first and last byte, and how it ended |
//!
//! # What stays bounded
//!
//! No part keeps anything for a request that has ended, but for rings of a fixed size. Labels come from the routes of the
//! service, never from what a client sends.

pub mod observe;

pub use observe::Observe;
