//! From an experiment and the operator's flags to its objects, without a cluster.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "workload/common.rs"]
mod common;
#[path = "workload/limits.rs"]
mod limits;
#[path = "workload/objects.rs"]
mod objects;
#[path = "workload/settings.rs"]
mod settings;
