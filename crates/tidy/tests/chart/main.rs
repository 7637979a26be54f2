//! The Helm chart: what it renders, for every backend and every choice that changes more than a number. Beside it the image
//! and the manifests for kind.
//!
//! Needs Helm: `$HELM`, or the one that `make helm` builds. Nothing here talks to a cluster; that is done by the tests of
//! the cluster.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod documents;
mod helm;
mod image;
mod kind;
mod network;
mod nulls;
mod objects;
mod operator;
mod pods;
mod refused;
mod signals;
