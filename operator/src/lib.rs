//! The Kubernetes operator of `KinesisExperiment`.
//!
//! # Expected flow
//! API server -> [`controller`] -> [`observe`] (client required) -> `kinex_api::convert` (no client) ->
//! [`decide`](kinex_core::experiment::decide) (no client) -> [`status`] is written (client required) -> the workload is
//! built (no client) and applied (client required) -> [`effects`] (client required) -> [`events`] (client required).
//!
//! It decides nothing about an experiment itself: it turns what the core decides into patches of a StatefulSet and calls
//! to the stream, as `kinex run` turns it into child processes.

pub mod args;
pub mod build;
pub mod limits;
pub mod metrics;
pub mod permissions;
pub mod settings;

pub mod apply;
mod cleanup;
mod controller;
mod effects;
mod events;
mod leader;
mod memory;
mod observe;
mod pods;
mod scene;
mod status;
mod watch;
