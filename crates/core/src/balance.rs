//! Who shall have which lease.
//!
//! [`plan`] is the strategy `Balanced`: every worker computes it from the same rows and gets the same answer, so no
//! leader is needed; a worker acts only on what comes to itself. [`steal`] is the strategy `Stealing`: one lease at a
//! time from the fullest worker. [`what_if`] asks the same plan about a fleet or a stream that does not exist yet.
//!
//! # Guarantees
//! Of [`plan`]: as even as the caps allow (a gap of at most one when none binds), with the fewest possible moves, the
//! same for every order of the input, and unchanged when it is made again of its own result. A lease leaves a worker
//! only when that worker is over its quota.
//!
//! # Caveats
//! Nothing here is needed for safety: a plan of a stale view costs moves, never a second owner.

mod hash;
mod plan;
mod quota;
mod stealing;
#[cfg(test)]
mod tests;
mod view;
mod what_if;

pub use hash::stable_hash;
pub use plan::{Move, Plan, plan};
pub use quota::{CapExceeded, CapPolicy, CapRounding, Policy};
pub use stealing::{adopt, steal};
pub use view::{Candidate, Placed, View, effective_owner};
pub use what_if::{Change, Requests, WhatIf, what_if};
