//! What an observer has seen, in a form that outlives its process.

use std::collections::BTreeMap;

use kinex_core::experiment::Timestamp;
use kinex_core::id::Incarnation;
use serde::{Deserialize, Serialize};

use crate::history::History;

/// What a look rests on beside what it sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The run that it is about.
    pub run: String,
    /// When the run was first looked at.
    pub began: Option<Timestamp>,
    /// Processes that are known to have ended, and when.
    pub deaths: BTreeMap<Incarnation, Timestamp>,
    /// What happened so far.
    pub history: History,
}
