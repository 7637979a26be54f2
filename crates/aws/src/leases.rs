//! The lease store in DynamoDB.

use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::{Lease, LeaseWrite};
use kinex_core::member::Written;
use kinex_core::worker::{Group, RenewalMode, WorkerRow, WorkerWrite};
use kinex_kcl::ports::{LeaseScan, LeaseStore};

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// The lease table and the workers' table of one application. Never creates a table: see [`Tables`](crate::Tables).
#[derive(Clone, Debug)]
pub struct Leases {
    table: String,
}

impl Leases {
    pub(crate) fn new(_clients: &Clients, application: &str) -> Self {
        Self {
            table: application.to_owned(),
        }
    }
}

impl LeaseStore for Leases {
    async fn leases(&self) -> Result<LeaseScan, Fault> {
        unbuilt(&self.table)
    }

    async fn lease(&self, _key: &ShardId) -> Result<Option<Lease>, Fault> {
        unbuilt(&self.table)
    }

    async fn write_lease(&self, _write: &LeaseWrite) -> Result<Written<Lease>, Fault> {
        unbuilt(&self.table)
    }

    async fn open_group(&self, _renewal: RenewalMode) -> Result<Group, Fault> {
        unbuilt(&self.table)
    }

    async fn bump_lineage(&self) -> Result<(), Fault> {
        unbuilt(&self.table)
    }

    async fn members(&self) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        unbuilt(&self.table)
    }

    async fn worker(&self, _id: &WorkerId) -> Result<Option<WorkerRow>, Fault> {
        unbuilt(&self.table)
    }

    async fn write_worker(&self, _write: &WorkerWrite) -> Result<Written<WorkerRow>, Fault> {
        unbuilt(&self.table)
    }
}
