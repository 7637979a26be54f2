//! The lease store in DynamoDB.

use aws_sdk_dynamodb::Client;
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::{Lease, LeaseWrite};
use kinex_core::member::Written;
use kinex_core::worker::{Group, RenewalMode, WorkerRow, WorkerWrite};
use kinex_kcl::ports::{LeaseScan, LeaseStore};
use tracing::warn;

use crate::expression::Expression;
use crate::item::{Item, s};
use crate::lease_row::{self, Row};
use crate::table::Table;
use crate::tables::{lease_table, workers_table};
use crate::worker_row::{GROUP, ID, KIND, MEMBER};
use crate::{Clients, Facts, Fault, FaultKind, StreamIdentity, lease_write, tables, worker_row, worker_write};

/// The lease table and the workers' table of one application. Never creates a table: see [`Tables`](crate::Tables).
#[derive(Clone, Debug)]
pub struct Leases {
    leases: Table,
    workers: Table,
    facts: Facts,
}

impl Leases {
    pub(crate) fn new(clients: &Clients, application: &str) -> Self {
        Self {
            leases: Table::new(clients, lease_table(application)),
            workers: Table::new(clients, workers_table(application)),
            facts: Facts::new(clients, application),
        }
    }

    /// The name of the lease table.
    pub fn table(&self) -> &str {
        self.leases.name()
    }

    /// Renewals, checkpoints and the rest have budgets of their own, so that none of them starves another.
    fn lease_client(&self, write: &LeaseWrite) -> &Client {
        let clients = self.leases.clients();
        match write {
            LeaseWrite::Renew { .. } | LeaseWrite::Extend { .. } | LeaseWrite::Reclaim { .. } => clients.renewals(),
            LeaseWrite::Checkpoint { .. } | LeaseWrite::Yield { .. } | LeaseWrite::Release { .. } => {
                clients.checkpoints()
            }
            LeaseWrite::Create(_)
            | LeaseWrite::Take { .. }
            | LeaseWrite::Ask { .. }
            | LeaseWrite::AskOver { .. }
            | LeaseWrite::Delete { .. } => clients.plans(),
        }
    }

    fn worker_client(&self, write: &WorkerWrite) -> &Client {
        match write {
            WorkerWrite::Beat { .. } => self.workers.clients().renewals(),
            _ => self.workers.clients().plans(),
        }
    }

    async fn write_lease_row(&self, write: &LeaseWrite, expression: &Expression) -> Result<Written<Lease>, Fault> {
        let written = self.leases.write(self.lease_client(write), expression).await?;
        read_back(&written, |item| self.lease_of(item))
    }

    /// A row that was asked for by its key, hence one that must be a lease.
    fn lease_of(&self, item: &Item) -> Result<Lease, Fault> {
        match lease_row::decode(item) {
            Ok(Row::Lease(lease)) => Ok(*lease),
            Ok(Row::Other | Row::Foreign) => Err(self.unreadable(&self.leases, item, "it is no lease")),
            Err(flaw) => Err(self.unreadable(&self.leases, item, &flaw)),
        }
    }

    fn worker_of(&self, item: &Item) -> Result<WorkerRow, Fault> {
        worker_row::decode(item).map_err(|flaw| self.unreadable(&self.workers, item, &flaw))
    }

    fn group_of(&self, item: &Item) -> Result<Group, Fault> {
        worker_row::decode_group(item).map_err(|flaw| self.unreadable(&self.workers, item, &flaw))
    }

    /// The group row and the workers' rows in a list of items.
    fn members_of(&self, items: &[Item]) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        let mut group = None;
        let mut workers = Vec::new();
        for item in items {
            if item.get(ID) == Some(&s(GROUP)) {
                group = Some(self.group_of(item)?);
                continue;
            }
            match worker_row::decode(item) {
                Ok(row) => workers.push(row),
                // One bad row must not blind everybody; nobody can be judged alive by it.
                Err(flaw) => warn!(id = ?item.get(ID), flaw, "a worker's row cannot be read and is skipped"),
            }
        }
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((group, workers))
    }

    fn unreadable(&self, table: &Table, item: &Item, flaw: &str) -> Fault {
        let key = match item.get(ID) {
            Some(id) => id.as_s().map_or("(no id)", String::as_str).to_owned(),
            None => lease_row::key_of(item),
        };
        let message = format!("row `{key}` cannot be read: {flaw}; repair or delete the row");
        table.asked("Read").fault(FaultKind::Invalid, message)
    }
}

impl LeaseStore for Leases {
    async fn bound(&self) -> Result<Option<StreamIdentity>, Fault> {
        tables::bound(&self.facts).await
    }

    async fn bind(&self, stream: &StreamIdentity) -> Result<StreamIdentity, Fault> {
        tables::bind(&self.facts, stream).await
    }

    async fn leases(&self) -> Result<LeaseScan, Fault> {
        let items = self.leases.scan().await?;
        let mut scan = LeaseScan::default();
        for item in &items {
            match lease_row::decode(item) {
                Ok(Row::Lease(lease)) => scan.leases.push(*lease),
                Ok(Row::Other) => {}
                Ok(Row::Foreign) => scan.foreign.push(lease_row::key_of(item)),
                Err(flaw) => scan.unreadable.push((lease_row::key_of(item), flaw)),
            }
        }
        scan.leases.sort_by(|a, b| a.key.cmp(&b.key));
        scan.unreadable.sort();
        scan.foreign.sort();
        Ok(scan)
    }

    async fn lease(&self, key: &ShardId) -> Result<Option<Lease>, Fault> {
        let key = Item::from([(lease_row::KEY.to_owned(), s(key))]);
        let item = self.leases.get(self.leases.clients().plans(), key).await?;
        item.map(|item| self.lease_of(&item)).transpose()
    }

    async fn write_lease(&self, write: &LeaseWrite) -> Result<Written<Lease>, Fault> {
        let written = self.write_lease_row(write, &lease_write::expression(write)).await?;
        match (&written, lease_write::yield_to_java(write)) {
            (Written::Refused(Some(row)), Some(other)) if row.next_incarnation.is_none() && row.handoff_pending() => {
                self.write_lease_row(write, &other).await
            }
            _ => Ok(written),
        }
    }

    async fn open_group(&self, renewal: RenewalMode) -> Result<Group, Fault> {
        let opened = worker_write::open_group(renewal);
        match self.workers.write(self.workers.clients().plans(), &opened).await? {
            Written::Done(Some(item)) => self.group_of(&item),
            other => {
                let message = format!("the group row did not come back: {other:?}");
                Err(self.workers.asked("UpdateItem").fault(FaultKind::Service, message))
            }
        }
    }

    async fn bump_lineage(&self) -> Result<(), Fault> {
        let bump = worker_write::bump_lineage();
        // A refusal means that nobody has opened the group, so that nobody waits for a change.
        self.workers
            .write(self.workers.clients().plans(), &bump)
            .await
            .map(drop)
    }

    async fn members(&self) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        self.members_of(&self.workers.of_kind(MEMBER, None).await?)
    }

    async fn members_present(&self) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        self.members_of(&self.workers.of_kind(MEMBER, Some(&worker_row::present())).await?)
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRow>, Fault> {
        let key = Item::from([(KIND.to_owned(), s(MEMBER)), (ID.to_owned(), s(id))]);
        let item = self.workers.get(self.workers.clients().plans(), key).await?;
        item.map(|item| self.worker_of(&item)).transpose()
    }

    async fn write_worker(&self, write: &WorkerWrite) -> Result<Written<WorkerRow>, Fault> {
        if write.worker().as_str() == GROUP {
            let message = format!("`{GROUP}` is the row of the group; choose another worker id");
            return Err(self.workers.asked("UpdateItem").fault(FaultKind::Invalid, message));
        }
        let expression = worker_write::expression(write);
        let written = self.workers.write(self.worker_client(write), &expression).await?;
        read_back(&written, |item| self.worker_of(item))
    }
}

fn read_back<T>(written: &Written<Item>, read: impl Fn(&Item) -> Result<T, Fault>) -> Result<Written<T>, Fault> {
    Ok(match written {
        Written::Done(item) => Written::Done(item.as_ref().map(read).transpose()?),
        Written::Refused(item) => Written::Refused(item.as_ref().map(read).transpose()?),
    })
}
