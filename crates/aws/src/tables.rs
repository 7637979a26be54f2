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

/// What tells a table from another one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableIdentity {
    /// Its name.
    pub name: String,
    /// Its `TableId`, which no two tables share:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html>. Where the service gives
    /// none, the time of its creation.
    pub id: String,
}

/// The tables that one caller made: no table that was there before, or that somebody else made at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablesMade {
    /// The lease table.
    pub leases: Option<TableIdentity>,
    /// The workers' table.
    pub workers: Option<TableIdentity>,
}

/// What became of a table or a stream that its maker wanted to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, by this call or before it.
    Gone,
    /// Another one of that name stands there, which somebody else made since: it was left alone.
    Replaced,
    /// One stands there that the caller did not make at all: it was left alone.
    Foreign,
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
        self.make(|_| {}).await
    }

    /// As [`ensure`](Self::ensure), and tells `made` of each table that this very call made, as soon as the service has
    /// said so. When the answer to a creation is lost, nobody can know whose the table is: it is not told.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure); a table that was told before is made all the same.
    pub async fn make(&self, made: impl Fn(TablesMade) + Send + Sync) -> Result<(), Fault> {
        self.check_names("CreateTable")?;
        // Neither table is made beside one that is somebody else's.
        let (leases, workers) = tokio::try_join!(self.leases.look(), self.workers.look())?;
        let leases_made = |table| {
            made(TablesMade {
                leases: Some(table),
                ..TablesMade::default()
            });
        };
        let workers_made = |table| {
            made(TablesMade {
                workers: Some(table),
                ..TablesMade::default()
            });
        };
        let both = tokio::try_join!(
            self.leases.ensure(leases, leases_made),
            self.workers.ensure(workers, workers_made)
        );
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

    /// Whether the tables are tied to this stream: `false` when they are tied to none yet. Writes nothing. A worker ties
    /// them when it starts: the sequence numbers of another stream would make the checkpoints meaningless.
    ///
    /// # Errors
    /// `Invalid` when the tables belong to another stream, or to an earlier one of the same name; `Missing` when there are
    /// no tables.
    pub async fn bound_to(&self, stream: &StreamIdentity) -> Result<bool, Fault> {
        match bound(&self.facts).await? {
            Some(bound) => self.same(bound, stream).map(|()| true),
            None => Ok(false),
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

    /// Deletes those tables that were made, and returns when they are gone. Whatever else has their names is left alone.
    ///
    /// # Errors
    /// As any request.
    pub async fn delete_made(&self, made: &TablesMade) -> Result<Vec<(String, Deleted)>, Fault> {
        let mut tables = Vec::new();
        for (shaped, made) in [(&self.leases, &made.leases), (&self.workers, &made.workers)] {
            let deleted = shaped.delete_made(made.as_ref()).await?;
            tables.push((shaped.table.name().to_owned(), deleted));
        }
        Ok(tables)
    }

    /// Deletes both tables, and returns when they are gone. A table of another shape is left alone.
    ///
    /// # Errors
    /// `Invalid` when a table of that name has another shape.
    pub async fn delete(&self) -> Result<(), Fault> {
        tokio::try_join!(self.leases.look(), self.workers.look())?;
        // The workers' table knows whose the leases are: it goes last, so that whoever goes on with this can tell.
        self.leases.delete().await?;
        self.workers.delete().await
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
    ///
    /// # Errors
    /// `Invalid` when it has another shape.
    async fn look(&self) -> Result<Option<TableDescription>, Fault> {
        let described = self.describe().await?;
        match described.as_ref().and_then(|described| self.difference(described)) {
            Some(difference) => Err(self.table.asked("DescribeTable").fault(FaultKind::Invalid, difference)),
            None => Ok(described),
        }
    }

    async fn describe(&self) -> Result<Option<TableDescription>, Fault> {
        let client = self.table.clients().plans();
        // The futures of the SDK are large, and several of these run side by side.
        let answer = Box::pin(client.describe_table().table_name(self.table.name()).send()).await;
        match answer {
            Ok(answer) => Ok(answer.table),
            Err(error) => match Failure::of(&error) {
                failure if failure.kind() == FaultKind::Missing => Ok(None),
                failure => Err(self.table.asked("DescribeTable").failed(&failure)),
            },
        }
    }

    /// The table that is described, as opposed to others of its name.
    fn identity(&self, described: &TableDescription) -> Option<TableIdentity> {
        let created = || {
            let created = described.creation_date_time.as_ref()?;
            Some(format!("created {}", created.to_millis().ok()?))
        };
        Some(TableIdentity {
            name: self.table.name().to_owned(),
            id: described.table_id.clone().or_else(created)?,
        })
    }

    async fn ensure(&self, first: Option<TableDescription>, made: impl Fn(TableIdentity)) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        let mut seen = first;
        loop {
            match seen.as_ref().and_then(|described| described.table_status.as_ref()) {
                Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                None => {
                    if let Some(identity) = self.create().await? {
                        made(identity);
                    }
                }
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

    /// Asks for the table, and says which one was made. That somebody else is faster, or that too many are made at once,
    /// is no error.
    async fn create(&self) -> Result<Option<TableIdentity>, Fault> {
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
            Ok(answer) => {
                info!(table = self.table.name(), "table created");
                let described = answer.table_description;
                Ok(described.and_then(|described| self.identity(&described)))
            }
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_) | CreateTableError::LimitExceededException(_)) => {
                    Ok(None)
                }
                _ => Err(self.table.asked("CreateTable").failed(&Failure::of(&error))),
            },
        }
    }

    async fn delete(&self) -> Result<(), Fault> {
        self.look().await?;
        self.delete_if(|_| true).await.map(drop)
    }

    async fn delete_made(&self, made: Option<&TableIdentity>) -> Result<Deleted, Fault> {
        let meant = |described: &TableDescription| made.is_some() && self.identity(described).as_ref() == made;
        Ok(match self.delete_if(meant).await? {
            Deleted::Replaced if made.is_none() => Deleted::Foreign,
            deleted => deleted,
        })
    }

    /// Deletes the table if it is the one that is meant, which is looked at before each request.
    async fn delete_if(&self, meant: impl Fn(&TableDescription) -> bool) -> Result<Deleted, Fault> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        let asked = self.table.asked("DeleteTable");
        while let Some(described) = self.describe().await? {
            if !meant(&described) {
                return Ok(Deleted::Replaced);
            }
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
        Ok(Deleted::Gone)
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
