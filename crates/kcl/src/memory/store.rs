//! A lease table and a workers' table in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinex_core::id::{ShardId, StreamIdentity, WorkerId};
use kinex_core::lease::{Lease, LeaseWrite, Refused};
use kinex_core::member::Written;
use kinex_core::worker::{Group, RenewalMode, WorkerRefused, WorkerRow, WorkerWrite};

use crate::ports::{Fault, FaultKind, LeaseScan, LeaseStore};

/// A fault that a test injects into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The request fails and nothing happens.
    FailBefore(FaultKind),
    /// The request is carried out, but its answer is lost.
    FailAfter(FaultKind),
    /// The request is carried out, and its answer comes late.
    Late(Duration),
    /// The request is carried out late.
    Slow(Duration),
}

type Plan = Arc<dyn Fn(&str) -> Option<InjectedFault> + Send + Sync>;

/// The tables of one application.
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    plan: Arc<Mutex<Option<Plan>>>,
}

#[derive(Default)]
struct Tables {
    leases: BTreeMap<ShardId, Lease>,
    workers: BTreeMap<WorkerId, WorkerRow>,
    group: Option<Group>,
    /// The stream that the tables are tied to.
    stream: Option<StreamIdentity>,
    /// Rows that cannot be read, with the reason.
    spoiled: BTreeMap<ShardId, String>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.tables();
        write!(
            f,
            "MemoryStore({} leases, {} workers)",
            tables.leases.len(),
            tables.workers.len()
        )
    }
}

impl MemoryStore {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets requests fail. The plan is asked with the name of each request, such as `write checkpoint shardId-0`,
    /// `write beat worker-0`, `leases` or `members`.
    pub fn inject(&self, plan: impl Fn(&str) -> Option<InjectedFault> + Send + Sync + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(plan));
    }

    /// Makes a lease row unreadable, as a row of a wrong type in a real table is.
    pub fn spoil(&self, key: &ShardId, reason: &str) {
        self.tables().spoiled.insert(key.clone(), reason.to_owned());
    }

    /// Every lease row, without waiting and without injected faults.
    pub fn lease_rows(&self) -> Vec<Lease> {
        self.tables().leases.values().cloned().collect()
    }

    /// Every worker row, without waiting and without injected faults.
    pub fn worker_rows(&self) -> Vec<WorkerRow> {
        self.tables().workers.values().cloned().collect()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change is one insert or remove, so a panic elsewhere leaves nothing half done.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer<T>(&self, request: String, act: impl FnOnce(&mut Tables) -> T) -> Result<T, Fault> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = |kind| Fault {
            kind,
            request: request.clone(),
            message: "a fault injected by the test".to_owned(),
            source: None,
        };
        // Even a table in memory is not instant: other tasks get their turn between a request and its answer.
        tokio::task::yield_now().await;
        let answer = |store: &Self| act(&mut store.tables());
        match plan.and_then(|plan| plan(&request)) {
            None => Ok(answer(self)),
            Some(InjectedFault::FailBefore(kind)) => Err(fault(kind)),
            Some(InjectedFault::FailAfter(kind)) => {
                answer(self);
                Err(fault(kind))
            }
            Some(InjectedFault::Late(by)) => {
                let answer = answer(self);
                tokio::time::sleep(by).await;
                Ok(answer)
            }
            Some(InjectedFault::Slow(by)) => {
                tokio::time::sleep(by).await;
                Ok(answer(self))
            }
        }
    }
}

impl LeaseStore for MemoryStore {
    async fn bound(&self) -> Result<Option<StreamIdentity>, Fault> {
        let bound = |tables: &mut Tables| tables.stream.clone();
        self.answer("bound".to_owned(), bound).await
    }

    async fn bind(&self, stream: &StreamIdentity) -> Result<StreamIdentity, Fault> {
        let bind = |tables: &mut Tables| tables.stream.get_or_insert_with(|| stream.clone()).clone();
        self.answer("bind".to_owned(), bind).await
    }

    async fn leases(&self) -> Result<LeaseScan, Fault> {
        let scan = |tables: &mut Tables| {
            let readable = |row: &&Lease| !tables.spoiled.contains_key(&row.key) && ShardId::is_one(row.key.as_str());
            let foreign = tables.leases.keys().filter(|key| !ShardId::is_one(key.as_str()));
            let spoiled = tables
                .spoiled
                .iter()
                .filter(|(key, _)| tables.leases.contains_key(*key));
            LeaseScan {
                leases: tables.leases.values().filter(readable).cloned().collect(),
                unreadable: spoiled.map(|(key, reason)| (key.to_string(), reason.clone())).collect(),
                foreign: foreign.map(ToString::to_string).collect(),
            }
        };
        self.answer("leases".to_owned(), scan).await
    }

    async fn lease(&self, key: &ShardId) -> Result<Option<Lease>, Fault> {
        let get = |tables: &mut Tables| match tables.spoiled.get(key) {
            None => Ok(tables.leases.get(key).cloned()),
            Some(reason) => Err(Fault {
                kind: FaultKind::Invalid,
                request: format!("lease {key}"),
                message: reason.clone(),
                source: None,
            }),
        };
        self.answer(format!("lease {key}"), get).await?
    }

    async fn write_lease(&self, write: &LeaseWrite) -> Result<Written<Lease>, Fault> {
        let key = write.key();
        let act = |tables: &mut Tables| match write.apply(tables.leases.get(key)) {
            Ok(row) => {
                match row.clone() {
                    Some(row) => tables.leases.insert(key.clone(), row),
                    None => tables.leases.remove(key),
                };
                Written::Done(row)
            }
            Err(Refused(row)) => Written::Refused(row.map(|row| *row)),
        };
        self.answer(format!("write {} {key}", write.kind()), act).await
    }

    async fn open_group(&self, renewal: RenewalMode) -> Result<Group, Fault> {
        let open = |tables: &mut Tables| tables.group.get_or_insert(Group { renewal, lineage: 0 }).clone();
        self.answer("open group".to_owned(), open).await
    }

    async fn bump_lineage(&self) -> Result<(), Fault> {
        let bump = |tables: &mut Tables| {
            if let Some(group) = &mut tables.group {
                group.lineage += 1;
            }
        };
        self.answer("bump lineage".to_owned(), bump).await
    }

    async fn members(&self) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        let query = |tables: &mut Tables| (tables.group.clone(), tables.workers.values().cloned().collect());
        self.answer("members".to_owned(), query).await
    }

    async fn members_present(&self) -> Result<(Option<Group>, Vec<WorkerRow>), Fault> {
        let (group, mut workers) = self.members().await?;
        workers.retain(|row| !row.left_for_good());
        Ok((group, workers))
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRow>, Fault> {
        let get = |tables: &mut Tables| tables.workers.get(id).cloned();
        self.answer(format!("worker {id}"), get).await
    }

    async fn write_worker(&self, write: &WorkerWrite) -> Result<Written<WorkerRow>, Fault> {
        let id = write.worker();
        let act = |tables: &mut Tables| match write.apply(tables.workers.get(id)) {
            Ok(row) => {
                match row.clone() {
                    Some(row) => tables.workers.insert(id.clone(), row),
                    None => tables.workers.remove(id),
                };
                Written::Done(row)
            }
            Err(WorkerRefused(row)) => Written::Refused(row.map(|row| *row)),
        };
        self.answer(format!("write {} {id}", write.kind()), act).await
    }
}
