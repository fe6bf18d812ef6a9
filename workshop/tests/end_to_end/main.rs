//! The twins and the book, seen with programs from outside. Needs the packages `chromium`, `chromium-driver`, `curl`, `git`,
//! `haproxy`, `nginx`, `npm` and `tmux`; `.ci/run` installs what is missing.

#[path = "../copy/mod.rs"]
mod copy;
#[expect(dead_code, reason = "which commands are documented is asked by the other suite")]
#[path = "../forms/mod.rs"]
mod forms;
#[path = "../learner/mod.rs"]
mod learner;
#[path = "../serving/mod.rs"]
mod serving;

mod access;
mod browser;
mod curl;
mod exercises;
mod kit;
mod lints;
mod paper;
mod pastes;
mod proxies;
mod regenerate;
mod repository;
mod search;
mod see;
mod skeleton;
mod slides;
mod sqlite;
mod translation;
mod watch;
mod webdriver;
