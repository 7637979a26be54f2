//! The two tables of an application: made when missing, refused when they are somebody else's.

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// The lease table (named as the application) and the workers' table (`<application>-workers`).
#[derive(Clone, Debug)]
pub struct Tables {
    application: String,
}

impl Tables {
    pub(crate) fn new(_clients: &Clients, application: &str) -> Self {
        Self {
            application: application.to_owned(),
        }
    }

    /// Creates the tables that are missing, and returns when both take requests. Several processes may do so at once.
    ///
    /// For the start of a program only: a table that vanishes later is to be reported, not made again while leases are
    /// held.
    ///
    /// # Errors
    /// `Invalid` when a table of that name has another shape: it is never written to. `Unreachable` when a table is not
    /// active within a minute.
    pub async fn ensure(&self) -> Result<(), Fault> {
        unbuilt(&self.application)
    }

    /// Looks whether both tables are there and have the right shape; creates nothing.
    ///
    /// # Errors
    /// `Missing` and `Invalid` accordingly.
    pub async fn check(&self) -> Result<(), Fault> {
        unbuilt(&self.application)
    }

    /// Deletes both tables, and returns when they are gone. A table of another shape is left alone.
    ///
    /// # Errors
    /// `Invalid` when a table of that name has another shape.
    pub async fn delete(&self) -> Result<(), Fault> {
        unbuilt(&self.application)
    }
}
