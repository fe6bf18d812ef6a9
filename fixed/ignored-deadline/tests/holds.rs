//! x
#[path = "also_right/abort_on_drop.rs"]
mod abort_on_drop;
#[path = "also_right/cancellation_token.rs"]
mod cancellation_token;
#[path = "also_right/join_set.rs"]
mod join_set;
#[path = "also_right/no_task.rs"]
mod no_task;
#[path = "also_right/one_lock.rs"]
mod one_lock;
mod sync {
    pub(crate) use std::sync::*;
}
