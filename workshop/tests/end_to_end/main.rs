//! The twins, seen with programs from outside. Needs the packages `curl` and `git`; `.ci/run` installs what is missing.

#[path = "../serving/mod.rs"]
mod serving;

mod curl;
mod skeleton;
