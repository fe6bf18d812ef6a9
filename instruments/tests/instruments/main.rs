//! The instruments, each by itself and against the conformance suite.

mod conformance;
mod observe;
mod support;
mod tasks;
