//! A Kinesis client library: workers that share the shards of a stream by leases.

pub mod ports;
