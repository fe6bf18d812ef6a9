//! Small wrong apps for what no twin and no near miss breaks: each is rejected, and for its own reason.

mod closure_captured_state;
mod ignored_deadline;
mod leaked_permit;
mod lying_health_check;
mod unread_body;
mod unready_clone;
