//! The commands other than `run`, one file each.

pub(crate) mod diff;
pub(crate) mod generate;
