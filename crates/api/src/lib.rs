//! `KinesisExperiment`: the manifest's wire types, its rules, and what it means.
//!
//! # Expected flow
//! Text becomes a [`KinesisExperiment`] by [`load`] (offline, every problem with its line), or by the API server, which
//! knows the same schema and the same rules ([`crd_yaml`]). [`convert`] then gives the
//! [`Spec`](kinex_core::experiment::Spec) that everything else works with.
//!
//! This crate knows nothing about clusters: it uses `kube` to derive the schema, and no client.

mod check;
mod convert;
mod duration;
mod fingerprint;
mod load;
mod metadata;
mod name;
mod problem;
pub mod scheduling;
mod schema;
mod text;
pub mod types;

pub use convert::convert;
pub use duration::DurationText;
pub use load::{LoadError, Placed, document, load};
pub use problem::Problem;
pub use scheduling::Scheduling;
pub use schema::{crd, crd_yaml};
pub use types::{KinesisExperiment, KinesisExperimentSpec};

/// What is wrong with a value by a schema of the definition's kind; paths begin at the value.
pub fn check_value(schema: &serde_json::Value, value: &serde_json::Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    check::check(schema, value, "", &mut problems);
    problems
}
