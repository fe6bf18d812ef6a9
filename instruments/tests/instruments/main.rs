//! The instruments, each by itself and against the conformance suite.

mod alerts;
mod bundle;
mod chain;
mod conformance;
mod faults;
mod gateway;
mod heat;
mod lines;
mod logs;
mod observe;
mod status;
mod support;
mod tasks;
