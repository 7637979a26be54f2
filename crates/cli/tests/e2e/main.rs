//! End to end: the real binary, real child processes, the real wire protocols.
//!
//! Every test ends the processes that it started, by their ids, also when it fails. Tests wait on conditions with a
//! limit. They run one behind the other (see `support::alone`): a fleet of five on two cores is load enough.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
mod documents;
mod faults;
mod guide;
mod makefile;
mod orders;
mod proof;
mod readme;
mod reports;
mod support;
mod surroundings;
mod tools;
