//! The instruments, each by itself and against the conformance suite.

mod alerts;
mod chain;
mod conformance;
mod faults;
mod heat;
mod observe;
mod status;
mod support;
mod tasks;
