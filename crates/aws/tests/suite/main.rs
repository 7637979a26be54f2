//! The adapters against the embedded endpoints, over HTTP.

mod access;
#[path = "../../../kcl/tests/common/aggregate.rs"]
#[allow(unreachable_pub, reason = "the tests of another crate use it as well")]
mod aggregate;
mod bench;
mod contract;
mod distribution;
mod facts;
mod faults;
mod lost_replies;
mod rows;
mod streams;
mod tables;
