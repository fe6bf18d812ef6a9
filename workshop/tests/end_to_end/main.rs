//! The twins and the book, seen with programs from outside. Needs the packages `chromium`, `chromium-driver`, `curl` and
//! `git`; `.ci/run` installs what is missing.

#[path = "../serving/mod.rs"]
mod serving;

#[path = "../copy/mod.rs"]
mod copy;

mod browser;
mod curl;
mod exercises;
mod skeleton;
mod webdriver;
