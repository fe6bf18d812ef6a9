//! The twins and the book, seen with programs from outside. Needs the packages `chromium`, `chromium-driver`, `curl`, `git`,
//! `haproxy`, `nginx` and `tmux`; `.ci/run` installs what is missing.

#[path = "../copy/mod.rs"]
mod copy;
#[path = "../serving/mod.rs"]
mod serving;

mod browser;
mod curl;
mod proxies;
mod skeleton;
mod watch;
mod webdriver;
