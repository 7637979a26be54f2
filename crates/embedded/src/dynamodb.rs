//! DynamoDB: the tables of the crate `dynoxide-rs` behind our own front, so that counters and faults apply.
//!
//! Leaves out streams, PartiQL and vectors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::tenant::Tenant;

/// What the crate's ARNs begin with, whatever the account and the region.
const CRATE_ARN: &str = "arn:aws:dynamodb:dynoxide:000000000000:";
/// Accounts and regions that have tables.
const TENANTS_MAX: usize = 64;

/// The tables of one pair of endpoints, in memory: a database for each account and region.
pub(crate) struct Tables(Mutex<BTreeMap<Tenant, Database>>);

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl Tables {
    pub(crate) fn open() -> Result<Self, String> {
        let database = Database::memory().map_err(|error| error.to_string())?;
        Ok(Self(Mutex::new(BTreeMap::from([(Tenant::default(), database)]))))
    }

    fn database(&self, tenant: &Tenant) -> Result<Database, Answer> {
        let mut databases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = databases.get(tenant) {
            return Ok(database.clone());
        }
        if databases.len() >= TENANTS_MAX {
            let message =
                format!("this endpoint serves {TENANTS_MAX} accounts and regions at most: {tenant} is one more");
            return Err(Answer::error(400, "LimitExceededException", &message));
        }
        let database = Database::memory()
            .map_err(|error| Answer::error(500, "InternalServerError", &format!("no tables for {tenant}: {error}")))?;
        databases.insert(tenant.clone(), database.clone());
        Ok(database)
    }

    /// Carries a request out. Blocks for the time of one in-memory transaction.
    pub(crate) fn call(&self, tenant: &Tenant, name: &str, body: &[u8]) -> Answer {
        let db = match self.database(tenant) {
            Ok(db) => db,
            Err(answer) => return answer,
        };
        let answer = if name.contains("Tag") {
            let body = replace(&Bytes::copy_from_slice(body), &tenant.arn_prefix("dynamodb"), CRATE_ARN);
            Self::run(&db, name, &body)
        } else {
            Self::run(&db, name, body)
        };
        if names_arns(name) {
            let body = replace(&answer.body, CRATE_ARN, &tenant.arn_prefix("dynamodb"));
            Answer { body, ..answer }
        } else {
            answer
        }
    }

    fn run(db: &Database, name: &str, body: &[u8]) -> Answer {
        match name {
            "BatchGetItem" => run(body, |request| db.batch_get_item(request)),
            "BatchWriteItem" => run(body, |request| db.batch_write_item(request)),
            "CreateTable" => run(body, |request| db.create_table(request)),
            "DeleteItem" => run(body, |request| db.delete_item(request)),
            "DeleteTable" => run(body, |request| db.delete_table(request)),
            "DescribeTable" => run(body, |request| db.describe_table(request)),
            "DescribeTimeToLive" => run(body, |request| db.describe_time_to_live(request)),
            "GetItem" => run(body, |request| db.get_item(request)),
            "ListTables" => run(body, |request| db.list_tables(request)),
            "ListTagsOfResource" => run(body, |request| db.list_tags_of_resource(request)),
            "PutItem" => run(body, |request| db.put_item(request)),
            "Query" => run(body, |request| db.query(request)),
            "Scan" => run(body, |request| db.scan(request)),
            "TagResource" => run(body, |request| db.tag_resource(request)),
            "TransactGetItems" => run(body, |request| db.transact_get_items(request)),
            "TransactWriteItems" => run(body, |request| db.transact_write_items(request)),
            "UntagResource" => run(body, |request| db.untag_resource(request)),
            "UpdateItem" => run(body, |request| db.update_item(request)),
            "UpdateTable" => run(body, |request| db.update_table(request)),
            "UpdateTimeToLive" => run(body, |request| db.update_time_to_live(request)),
            _ => Answer::error(
                400,
                "UnknownOperationException",
                &format!("{name} is not served by this endpoint"),
            ),
        }
    }
}

/// Whether the answers of an API name tables by their ARNs. Items, which may hold any text, are in none of these.
fn names_arns(name: &str) -> bool {
    matches!(name, "CreateTable" | "DeleteTable" | "DescribeTable" | "UpdateTable")
}

fn replace(body: &Bytes, from: &str, to: &str) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) if text.contains(from) => text.replace(from, to).into(),
        _ => body.clone(),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(body: &[u8], call: impl FnOnce(Q) -> dynoxide::Result<A>) -> Answer {
    let answer = read(body).and_then(call).and_then(|answer| {
        serde_json::to_vec(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
    });
    match answer {
        Ok(body) => Answer::ok(body),
        Err(error) => Answer {
            status: error.status_code(),
            body: error.to_json().into(),
            error: Some(error.error_type().rsplit('#').next().unwrap_or_default().to_owned()),
            content_type: None,
            as_is: false,
        },
    }
}

/// The request as a value. What JSON allows but the API does not is a validation error; a wrong type of JSON value is
/// a serialization error. The crate marks its own validation texts with a prefix.
fn read<Q: DeserializeOwned>(body: &[u8]) -> dynoxide::Result<Q> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let plain = text.rsplit_once(" at line ").map_or(text.as_str(), |(plain, _)| plain);
        let marked = plain
            .split_once(':')
            .filter(|(mark, _)| mark.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        match marked {
            Some((mark, text)) if mark.starts_with("VALIDATION") => DynoxideError::ValidationException(text.to_owned()),
            Some((mark, text)) if mark.starts_with("SERIALIZATION") => {
                DynoxideError::SerializationException(text.to_owned())
            }
            _ if [
                "missing field",
                "unknown variant",
                "invalid type: null",
                "AttributeValue",
            ]
            .iter()
            .any(|part| plain.contains(part)) =>
            {
                DynoxideError::ValidationException(plain.to_owned())
            }
            _ => DynoxideError::SerializationException(plain.to_owned()),
        }
    })
}
