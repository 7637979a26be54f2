//! The adapters against the embedded endpoints, over HTTP.

mod access;
mod bench;
mod contract;
mod facts;
mod faults;
mod lost_replies;
mod rows;
mod streams;
mod tables;
