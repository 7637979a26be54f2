//! What an experiment created, as opposed to what it found: only the former is its to delete.
//!
//! A stream or a table is known by what no other of its name has: the time of its creation, its id. What the service
//! itself said that it created for us is ours. Where its answer was lost, nobody can know, and nothing is noted: it is
//! rather left behind than taken from somebody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinex_aws::{Deleted, Fault, StreamIdentity, TableIdentity, TablesMade};
use kinex_core::experiment::{Created, CreatedStream, CreatedTable, Timestamp};

use crate::Subject;

/// What was created so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Created>>);

impl Ledger {
    /// A ledger that goes on from what was created before.
    pub fn of(created: &Created) -> Self {
        Self(Arc::new(Mutex::new(created.clone())))
    }

    /// What was created.
    pub fn created(&self) -> Created {
        self.lock().clone()
    }

    /// Creates the stream unless there is one, and waits until it is active.
    ///
    /// # Errors
    /// As [`StreamAdmin::create`](kinex_aws::StreamAdmin::create).
    pub async fn make_stream(&self, subject: &Subject, shards: u32, patience: Duration) -> Result<(), Fault> {
        let streams = subject.clients.streams().patience(patience);
        let note = |made: StreamIdentity| {
            self.lock().stream = Some(CreatedStream {
                arn: made.arn,
                created_at: Timestamp(made.created_millis),
            });
        };
        streams.make(&subject.stream, shards, note).await.map(drop)
    }

    /// Creates the tables that are missing, and waits until both are active.
    ///
    /// # Errors
    /// As [`Tables::ensure`](kinex_aws::Tables::ensure).
    pub async fn make_tables(&self, subject: &Subject) -> Result<(), Fault> {
        let note = |made: TablesMade| {
            let table = |made: TableIdentity| CreatedTable {
                name: made.name,
                id: made.id,
            };
            let created = Created {
                lease_table: made.leases.map(table),
                workers_table: made.workers.map(table),
                ..Created::default()
            };
            self.lock().add(&created);
        };
        let tables = subject.clients.tables(&subject.application);
        tables.make(note).await
    }

    /// Deletes the tables that were created, and nothing else that has their names.
    ///
    /// # Errors
    /// As any request.
    pub async fn delete_tables(&self, subject: &Subject) -> Result<(), Fault> {
        let made = tables(&self.created());
        subject
            .clients
            .tables(&subject.application)
            .delete_made(&made)
            .await
            .map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Created> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes what was created, and nothing else that has its names. Returns in words what stays.
///
/// # Errors
/// As any request. Running it again goes on from there.
pub async fn delete(subject: &Subject, created: &Created) -> Result<Vec<String>, Fault> {
    let stream = created.stream.clone().map(|stream| StreamIdentity {
        arn: stream.arn,
        created_millis: stream.created_at.0,
    });
    let streams = subject.clients.streams();
    let deleted = streams.delete_made(&subject.stream, stream.as_ref()).await?;
    let mut stays: Vec<String> = left("stream", &subject.stream, deleted).into_iter().collect();
    let made = tables(created);
    let tables = subject.clients.tables(&subject.application).delete_made(&made).await?;
    stays.extend(
        tables
            .iter()
            .filter_map(|(name, deleted)| left("table", name, *deleted)),
    );
    Ok(stays)
}

fn tables(created: &Created) -> TablesMade {
    let table = |made: &Option<CreatedTable>| {
        made.clone().map(|made| TableIdentity {
            name: made.name,
            id: made.id,
        })
    };
    TablesMade {
        leases: table(&created.lease_table),
        workers: table(&created.workers_table),
    }
}

fn left(what: &str, name: &str, deleted: Deleted) -> Option<String> {
    match deleted {
        Deleted::Gone => None,
        Deleted::Replaced => Some(format!("{what} {name} was created again by somebody else")),
        Deleted::Foreign => Some(format!("{what} {name} was not created by this experiment")),
    }
}
