//! The operator on a cluster, installed by the chart, with consumers in real pods.
//!
//! One program, so that two tests run at a time: most of each is waiting.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod chart;
mod crashes;
mod guide;
mod leaving;
mod partition;
mod refusals;
mod rollout;
mod sharing;
mod signals;
