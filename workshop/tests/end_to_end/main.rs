//! The twins and the book, seen with programs from outside. Needs the packages `chromium`, `chromium-driver`, `curl` and
//! `git`; `.ci/run` installs what is missing.

#[path = "../serving/mod.rs"]
mod serving;

mod browser;
mod curl;
mod skeleton;
mod sqlite;
mod webdriver;
