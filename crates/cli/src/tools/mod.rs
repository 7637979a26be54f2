//! The commands other than `run`, one file each.

pub(crate) mod comparison;
pub(crate) mod diff;
pub(crate) mod emulator;
pub(crate) mod export;
pub(crate) mod fleet;
pub(crate) mod generate;
pub(crate) mod iam;
pub(crate) mod plan;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod reshard;
pub(crate) mod setup;
pub(crate) mod sim;
pub(crate) mod snapshot;
pub(crate) mod validate;
pub(crate) mod verify;
pub(crate) mod watch;
