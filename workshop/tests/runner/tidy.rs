//! The one test that looks across the trees.

use ghosts::{
    checkout::Checkout,
    make::{regenerate, tidy},
};

#[test]
fn the_trees_are_in_order() {
    let faults = tidy::faults(&Checkout::here()).expect("every case can be read");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn what_is_generated_is_what_the_generator_makes_now() {
    let stale = regenerate::stale(&Checkout::here()).expect("every source can be read");
    assert!(stale.is_empty(), "\n{}\n", stale.join("\n"));
}
