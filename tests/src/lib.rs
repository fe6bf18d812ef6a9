//! The specifications of the ghosts: for each one the promises that a right implementation keeps,
//! executable against any implementation, and the [laboratory](lab) in which they are judged.
//!
//! A specification is one function, `check(app) -> Report`. It takes the app as a *constructor*, supplies everything that
//! puts the app under stress, and returns one line for each promise:
//!
//! ```
//! // An app that passes each log on as it is holds nothing back, and does not compress either.
//! let report = spec::hidden_flush::check(|logs| logs);
//! assert_eq!(report.broken(), ["bytes-once-in-order"]);
//! println!("{report}");
//! ```

pub mod body_double_close;
mod child;
pub mod closure_captured_state;
pub mod hidden_flush;
pub mod ignored_deadline;
pub mod leaked_permit;
pub mod lying_health_check;
pub mod swallowed_panic;
pub mod unread_body;
pub mod unready_clone;

pub use child::{Ended, child_of, in_child, in_child_within, in_exercise};
pub use lab::{self, Limits, Report};
