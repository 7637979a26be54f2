//! Facts that outlive their writer: JSON texts by kind and id, in the workers' table.

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// The fact rows of an application: what the producer sent, what the consumers delivered.
///
/// A write replaces the fact whole; the last one wins. Reads are strongly consistent.
#[derive(Clone, Debug)]
pub struct Facts {
    table: String,
}

impl Facts {
    pub(crate) fn new(_clients: &Clients, application: &str) -> Self {
        Self {
            table: format!("{application}-workers"),
        }
    }

    /// Writes a fact. `kind` is a word such as `audit`; `member` is taken.
    ///
    /// # Errors
    /// `Invalid` for the kind `member` and for a body of more than 350 KB; `Missing` when there is no table.
    pub async fn put(&self, kind: &str, id: &str, body: &str) -> Result<(), Fault> {
        let _ = (kind, id, body);
        unbuilt(&self.table)
    }

    /// One fact; `None` when there is none.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn get(&self, kind: &str, id: &str) -> Result<Option<String>, Fault> {
        let _ = (kind, id);
        unbuilt(&self.table)
    }

    /// Every fact of a kind, `(id, body)`, in the order of the ids: all pages, or an error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn list(&self, kind: &str) -> Result<Vec<(String, String)>, Fault> {
        let _ = kind;
        unbuilt(&self.table)
    }

    /// Removes a fact; none there is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, kind: &str, id: &str) -> Result<(), Fault> {
        let _ = (kind, id);
        unbuilt(&self.table)
    }
}
