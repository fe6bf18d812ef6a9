//! x
#[path = "also_right/guard_in_the_body.rs"]
pub mod guard_in_the_body;
#[path = "also_right/once.rs"]
pub mod once;
#[path = "also_right/owned_permit.rs"]
pub mod owned_permit;
#[path = "also_right/swap.rs"]
pub mod swap;
#[test]
fn x() {
    let _ = guard_in_the_body::app;
    let _ = swap::app;
    let _ = once::app;
    let _ = owned_permit::app;
}
