//! Facts that outlive their writer: JSON texts by kind and id, in the workers' table.

use std::collections::BTreeSet;

use kinex_core::member::Written;

use crate::expression::Expression;
use crate::item::{Item, required_text, s};
use crate::table::Table;
use crate::tables::workers_table;
use crate::worker_row::{ID, KIND, MEMBER};
use crate::{Clients, Fault, FaultKind};

const BODY: &str = "body";

/// DynamoDB takes 400 KB per item, the names of the attributes included.
const BODY_MAX: usize = 350_000;

/// The fact rows of an application: what the producer sent, what the consumers delivered.
///
/// A write replaces the fact whole; the last one wins. Reads are strongly consistent.
#[derive(Clone, Debug)]
pub struct Facts {
    table: Table,
}

impl Facts {
    pub(crate) fn new(clients: &Clients, application: &str) -> Self {
        Self {
            table: Table::new(clients, workers_table(application)),
        }
    }

    /// Writes a fact. `kind` is a word such as `audit`; `member` is taken.
    ///
    /// # Errors
    /// `Invalid` for the kind `member` and for a body of more than 350 KB; `Missing` when there is no table.
    pub async fn put(&self, kind: &str, id: &str, body: &str) -> Result<(), Fault> {
        self.check(kind, id, body)?;
        self.write(&fact(kind, id).set(BODY, s(body))).await?;
        Ok(())
    }

    /// How many facts [`put_all`](Self::put_all) takes:
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>.
    pub const ROWS_MAX: usize = 25;

    /// Writes up to 25 facts of one kind, `(id, body)`, in one request. Returns the ids of those that the service has not
    /// taken for the time being.
    ///
    /// # Errors
    /// As [`put`](Self::put); nothing is written then. Also `Invalid` for more than 25 facts.
    pub async fn put_all(&self, kind: &str, facts: &[(String, String)]) -> Result<BTreeSet<String>, Fault> {
        for (id, body) in facts {
            self.check(kind, id, body)?;
        }
        if facts.len() > Self::ROWS_MAX {
            let (count, most) = (facts.len(), Self::ROWS_MAX);
            return Err(self.invalid(format!("{count} facts in one request; {most} are allowed")));
        }
        let items = facts.iter().map(|(id, body)| {
            Item::from([
                (KIND.to_owned(), s(kind)),
                (ID.to_owned(), s(id)),
                (BODY.to_owned(), s(body)),
            ])
        });
        let left = self.table.put_all(self.table.clients().checkpoints(), items).await?;
        let id = |item: &Item| {
            required_text(item, ID)
                .map(str::to_owned)
                .map_err(|flaw| self.invalid(flaw))
        };
        left.iter().map(id).collect()
    }

    /// Writes a fact unless there is one, and returns the one that stands.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn claim(&self, kind: &str, id: &str, body: &str) -> Result<String, Fault> {
        self.check(kind, id, body)?;
        match self.write(&fact(kind, id).set_if_absent(BODY, s(body))).await? {
            Some(item) => self.body(&item),
            None => Ok(body.to_owned()),
        }
    }

    /// One fact; `None` when there is none.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn get(&self, kind: &str, id: &str) -> Result<Option<String>, Fault> {
        self.check(kind, id, "")?;
        let key = fact(kind, id).key();
        let item = self.table.get(self.table.clients().plans(), key).await?;
        item.map(|item| self.body(&item)).transpose()
    }

    /// Every fact of a kind, `(id, body)`, in the order of the ids: all pages, or an error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn list(&self, kind: &str) -> Result<Vec<(String, String)>, Fault> {
        self.check(kind, "-", "")?;
        let items = self.table.of_kind(kind, None).await?;
        let fact = |item: &Item| {
            let id = required_text(item, ID).map_err(|flaw| self.invalid(flaw))?;
            Ok((id.to_owned(), self.body(item)?))
        };
        let mut facts: Vec<_> = items.iter().map(fact).collect::<Result<_, Fault>>()?;
        facts.sort();
        Ok(facts)
    }

    /// Removes a fact; none there is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, kind: &str, id: &str) -> Result<(), Fault> {
        self.check(kind, id, "")?;
        self.write(&fact(kind, id).delete()).await?;
        Ok(())
    }

    /// An unconditional write: the item after it.
    async fn write(&self, expression: &Expression) -> Result<Option<Item>, Fault> {
        match self.table.write(self.table.clients().checkpoints(), expression).await? {
            Written::Done(item) | Written::Refused(item) => Ok(item),
        }
    }

    fn check(&self, kind: &str, id: &str, body: &str) -> Result<(), Fault> {
        if kind == MEMBER || kind.is_empty() || id.is_empty() {
            return Err(self.invalid(format!(
                "`{kind}` / `{id}` is no fact: the kind must be a word other than {MEMBER}"
            )));
        }
        if body.len() > BODY_MAX {
            let length = body.len();
            return Err(self.invalid(format!(
                "the fact {kind}/{id} is {length} bytes long; {BODY_MAX} are allowed"
            )));
        }
        Ok(())
    }

    fn body(&self, item: &Item) -> Result<String, Fault> {
        let body = required_text(item, BODY);
        body.map(str::to_owned).map_err(|flaw| {
            let id = item.get(ID);
            self.invalid(format!("the fact {id:?} cannot be read: {flaw}; delete the row"))
        })
    }

    pub(crate) fn invalid(&self, message: String) -> Fault {
        self.table.asked("Fact").fault(FaultKind::Invalid, message)
    }
}

fn fact(kind: &str, id: &str) -> Expression {
    Expression::of([(KIND, s(kind)), (ID, s(id))])
}
