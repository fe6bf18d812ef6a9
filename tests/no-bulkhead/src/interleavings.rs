//! The model of `no-bulkhead`: reports and orders that come at once, and places that come back meanwhile.
//!
//! It is generic over the core, so that broken, fixed and anybody's `shared.rs` are explored alike.
