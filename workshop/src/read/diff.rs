//! The difference of the twins, as a command.

use serde::Serialize;

use crate::{
    Refusal,
    catalogue::{difference, ghosts::Ghost},
    checkout::Checkout,
    terminal::{self, print, print_json},
};

#[derive(Serialize)]
struct Difference {
    schema: u32,
    slug: &'static str,
    unified: String,
}

/// Prints the difference.
///
/// # Errors
/// If a twin's source cannot be read.
pub fn run(checkout: &Checkout, ghost: &Ghost, json: bool) -> Result<bool, Refusal> {
    let unified = difference::unified(checkout, ghost.slug)?;
    if json {
        print_json(&Difference { schema: 1, slug: ghost.slug, unified })?;
    } else {
        print(&terminal::difference(&unified, ""))?;
    }
    Ok(true)
}
