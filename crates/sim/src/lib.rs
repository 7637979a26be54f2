//! Many [`Member`](kinex_core::member::Member)s under a seeded scheduler, in virtual time, with everything going wrong.
//!
//! The state machines are those that a consumer runs; the tables, the network, the stream, the processors and the clocks
//! are models. A run is a pure function of its [`Scenario`] and its seed: whoever has both can play it again.
//!
//! # Expected flow
//! [`run`] plays one seed and gives an [`Outcome`]: the [`history`], the [`violations`](Violation) of the checks that
//! [`checks`] lists, and some figures.
//!
//! # What the model leaves out
//! The wall clock does not exist here, so nothing can depend on it. Reads are consistent as the ports promise; a scan is
//! not a snapshot (each page is read at its own time). Records have numbers and no bodies.

pub mod checks;
mod consumer;
mod database;
mod foreign;
pub mod history;
mod network;
mod process;
mod scenario;
mod storm;
mod world;

pub use self::checks::{Check, Violation};
pub use self::history::{Entry, History};
pub use self::scenario::{Fault, Foreign, Net, Scenario, Slow, Storm};
pub use self::world::{Outcome, Stats, run};
