//! What both shells of an experiment share, the operator and `kinex run`.
//!
//! # Expected flow
//! A shell gives its [`Observer`] what it knows of its processes ([`PodFacts`]) and gets a
//! [`World`](kinex_core::experiment::World); [`decide`](kinex_core::experiment::decide) says what to do; effects on the
//! stream go to the [`Actor`], those on processes are the shell's own. When the run has ended, [`outcome::recording`]
//! and [`report`] tell what happened.
//!
//! Nothing here decides, and nothing here knows whether a worker is a pod or a child process.

pub mod act;
mod ends;
pub mod history;
pub mod launch;
pub mod ledger;
mod memory;
pub mod observe;
pub mod outcome;
mod pods;
pub mod report;
pub mod text;
mod witness;

pub use act::Actor;
pub use ends::Ends;
pub use ledger::Ledger;
pub use memory::Memory;
pub use observe::{Observer, last_audit};
pub use pods::{PodFacts, Subject};
pub use witness::Witness;
