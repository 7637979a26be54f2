//! The two tables of an application: made when missing, refused when they are somebody else's.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
};
use kinex_core::application;
use kinex_kcl::ports::StreamMismatch;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::fault::Failure;
use crate::lease_row::KEY;
use crate::table::Table;
use crate::worker_row::{ID, KIND};
use crate::{Clients, Facts, Fault, FaultKind, StreamIdentity};

/// A table of DynamoDB takes some ten seconds to become active, a local one none.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn lease_table(application: &str) -> String {
    application.to_owned()
}

pub(crate) fn workers_table(application: &str) -> String {
    application::workers_table(application)
}

/// The lease table (named as the application) and the workers' table (`<application>-workers`).
#[derive(Clone, Debug)]
pub struct Tables {
    leases: Shaped,
    workers: Shaped,
    facts: Facts,
}

/// A table and the shape it must have.
#[derive(Clone, Debug)]
struct Shaped {
    table: Table,
    what: &'static str,
    hash: &'static str,
    range: Option<&'static str>,
}

impl Tables {
    pub(crate) fn new(clients: &Clients, application: &str) -> Self {
        Self {
            leases: Shaped {
                table: Table::new(clients, lease_table(application)),
                what: "a lease table",
                hash: KEY,
                range: None,
            },
            workers: Shaped {
                table: Table::new(clients, workers_table(application)),
                what: "a workers' table",
                hash: KIND,
                range: Some(ID),
            },
            facts: Facts::new(clients, application),
        }
    }

    /// Creates the tables that are missing, and returns when both take requests. Several processes may do so at once.
    ///
    /// For the start of a program only: a table that vanishes later is to be reported, not made again while leases are
    /// held.
    ///
    /// # Errors
    /// `Invalid` when a table of that name has another shape: it is never written to; and when DynamoDB has no tables of
    /// such names. `Unreachable` when a table is not active within a minute.
    pub async fn ensure(&self) -> Result<(), Fault> {
        self.check_names("CreateTable")?;
        // Neither table is made beside one that is somebody else's.
        let (leases, workers) = tokio::try_join!(self.leases.look(), self.workers.look())?;
        let both = tokio::try_join!(self.leases.ensure(leases), self.workers.ensure(workers));
        both.map(|_| ())
    }

    /// Looks whether both tables are there and have the right shape; creates nothing.
    ///
    /// # Errors
    /// `Missing` and `Invalid` accordingly.
    pub async fn check(&self) -> Result<(), Fault> {
        self.check_names("DescribeTable")?;
        for shaped in [&self.leases, &self.workers] {
            if shaped.look().await?.is_none() {
                let message = "the table does not exist; check the application name and the region, or start a worker, \
                               which creates it";
                return Err(shaped.table.asked("DescribeTable").fault(FaultKind::Missing, message));
            }
        }
        Ok(())
    }

    /// Says in words what DynamoDB would refuse with a pattern.
    fn check_names(&self, api: &'static str) -> Result<(), Fault> {
        let table = &self.leases.table;
        let checked = application::check(table.name());
        checked.map_err(|invalid| table.asked(api).fault(FaultKind::Invalid, invalid.to_string()))
    }

    /// Ties the tables to a stream the first time, and refuses another one afterwards: its sequence numbers would make
    /// the checkpoints meaningless.
    ///
    /// # Errors
    /// `Invalid` when the tables belong to another stream, or to an earlier one of the same name.
    pub async fn bind(&self, stream: &StreamIdentity) -> Result<(), Fault> {
        let bound = bind(&self.facts, stream).await?;
        self.same(bound, stream)
    }

    /// Whether the tables are tied to this stream, or to none yet; writes nothing.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); `Missing` when there are no tables.
    pub async fn bound_to(&self, stream: &StreamIdentity) -> Result<(), Fault> {
        match bound(&self.facts).await? {
            Some(bound) => self.same(bound, stream),
            None => Ok(()),
        }
    }

    fn same(&self, bound: StreamIdentity, found: &StreamIdentity) -> Result<(), Fault> {
        if bound == *found {
            return Ok(());
        }
        let found = found.clone();
        let message = StreamMismatch { bound, found }.to_string();
        Err(self.leases.table.asked("Bind").fault(FaultKind::Invalid, message))
    }

    /// Deletes both tables, and returns when they are gone. A table of another shape is left alone.
    ///
    /// # Errors
    /// `Invalid` when a table of that name has another shape.
    pub async fn delete(&self) -> Result<(), Fault> {
        tokio::try_join!(self.leases.look(), self.workers.look())?;
        tokio::try_join!(self.leases.delete(), self.workers.delete())?;
        Ok(())
    }
}

/// The fact row that says which stream the leases belong to.
const STREAM: &str = "stream";
const BOUND: &str = "bound";

/// Ties the tables to a stream unless they are tied to one, and returns the one that they are tied to.
pub(crate) async fn bind(facts: &Facts, stream: &StreamIdentity) -> Result<StreamIdentity, Fault> {
    let bound = facts.claim(STREAM, BOUND, &stream.text()).await?;
    decode(facts, &bound)
}

/// The stream that the tables are tied to, if they are.
pub(crate) async fn bound(facts: &Facts) -> Result<Option<StreamIdentity>, Fault> {
    let bound = facts.get(STREAM, BOUND).await?;
    bound.map(|bound| decode(facts, &bound)).transpose()
}

fn decode(facts: &Facts, bound: &str) -> Result<StreamIdentity, Fault> {
    StreamIdentity::parse(bound).ok_or_else(|| {
        let message =
            format!("the row {STREAM}/{BOUND} names no stream: `{bound}`; repair the row, or delete the tables");
        facts.invalid(message)
    })
}

impl Shaped {
    /// The table as it is; `None` when there is none.
    async fn look(&self) -> Result<Option<TableDescription>, Fault> {
        let client = self.table.clients().plans();
        // The futures of the SDK are large, and several of these run side by side.
        let answer = Box::pin(client.describe_table().table_name(self.table.name()).send()).await;
        let described = match answer {
            Ok(answer) => answer.table,
            Err(error) => match Failure::of(&error) {
                failure if failure.kind() == FaultKind::Missing => None,
                failure => return Err(self.table.asked("DescribeTable").failed(&failure)),
            },
        };
        match described.as_ref().and_then(|described| self.difference(described)) {
            Some(difference) => Err(self.table.asked("DescribeTable").fault(FaultKind::Invalid, difference)),
            None => Ok(described),
        }
    }

    async fn ensure(&self, first: Option<TableDescription>) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        let mut seen = first;
        loop {
            match seen.as_ref().and_then(|described| described.table_status.as_ref()) {
                Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                None => self.create().await?,
                Some(_) => {}
            }
            if Instant::now() > deadline {
                let message = format!("the table is not active after {} s; try again", PATIENCE.as_secs());
                return Err(self.table.asked("CreateTable").fault(FaultKind::Unreachable, message));
            }
            pause.once().await;
            seen = self.look().await?;
        }
    }

    /// Asks for the table. That somebody else is faster, or that too many are made at once, is no error.
    async fn create(&self) -> Result<(), Fault> {
        let range = self.range.map(|range| (range, KeyType::Range));
        let keys = [(self.hash, KeyType::Hash)].into_iter().chain(range);
        let mut request = self
            .table
            .clients()
            .plans()
            .create_table()
            .table_name(self.table.name())
            .billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in keys {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(ScalarAttributeType::S).build();
            request = request
                .key_schema(key.expect("name and kind are given"))
                .attribute_definitions(attribute.expect("name and type are given"));
        }
        match Box::pin(request.send()).await {
            Ok(_) => info!(table = self.table.name(), "table created"),
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_) | CreateTableError::LimitExceededException(_)) => {}
                _ => return Err(self.table.asked("CreateTable").failed(&Failure::of(&error))),
            },
        }
        Ok(())
    }

    async fn delete(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        let asked = self.table.asked("DeleteTable");
        while let Some(described) = self.look().await? {
            if described.table_status != Some(TableStatus::Deleting) {
                let client = self.table.clients().plans();
                let answer = Box::pin(client.delete_table().table_name(self.table.name()).send()).await;
                match answer.map_err(|error| Failure::of(&error)) {
                    Err(failure) if !matches!(failure.kind(), FaultKind::Missing | FaultKind::Throttled) => {
                        return Err(asked.failed(&failure));
                    }
                    _ => {}
                }
            }
            if Instant::now() > deadline {
                let message = format!("the table is still there after {} s; try again", PATIENCE.as_secs());
                return Err(asked.fault(FaultKind::Unreachable, message));
            }
            pause.once().await;
        }
        Ok(())
    }

    /// How the table differs from what it must be.
    fn difference(&self, described: &TableDescription) -> Option<String> {
        let name = self.table.name();
        let key = |kind: KeyType| {
            let element = described.key_schema().iter().find(|element| element.key_type == kind)?;
            let attributes = described.attribute_definitions();
            let attribute = attributes
                .iter()
                .find(|attribute| attribute.attribute_name == element.attribute_name);
            let type_of = attribute.map_or("?", |attribute| attribute.attribute_type.as_str());
            Some((element.attribute_name.as_str(), type_of))
        };
        let hash = key(KeyType::Hash);
        let range = key(KeyType::Range);
        let (part, found, expected) = if hash != Some((self.hash, "S")) {
            ("hash key", hash, Some(self.hash))
        } else if range != self.range.map(|range| (range, "S")) {
            ("range key", range, self.range)
        } else {
            return None;
        };
        let found = found.map_or(format!("no {part}"), |(name, kind)| format!("{part} `{name}` ({kind})"));
        let expected = expected.map_or("none".to_owned(), |name| format!("`{name}` (S)"));
        let what = self.what;
        Some(format!(
            "table {name} has {found}; {what} has {expected}: choose another application name"
        ))
    }
}

/// Pauses between two looks: short at first, because local endpoints are quick.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pause {
    /// Waits, longer every time, up to a second.
    pub(crate) async fn once(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}
