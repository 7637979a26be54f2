//! Leases, rebalancing and experiments as pure decisions.
//!
//! Everything here takes values (the rows that were read, the time that it is) and gives a value back (the plan, the
//! next state, the write to send). Nothing here waits, reads a clock, draws a random number or talks to anybody; the
//! crates around this one do that and feed the answers back in. That is what lets one set of rules run unchanged in a
//! consumer, in the operator, and under the seeded scheduler of the simulation.

pub mod application;
pub mod audit;
pub mod balance;
pub mod experiment;
pub mod hold;
pub mod id;
pub mod lease;
pub mod lineage;
pub mod liveness;
pub mod member;
pub mod shard;
pub mod shard_map;
pub mod split;
pub mod stats;
pub mod sync;
pub mod time;
pub mod worker;
