//! DynamoDB: what a lease table and its neighbors need of it.

mod reads;
mod tables;
mod writes;

use crate::clients::DynamoDb;
use crate::suite::Checks;

pub(crate) fn all(at: &DynamoDb) -> Checks {
    let together = [tables::all(at), writes::all(at), reads::all(at)];
    Checks {
        together: together.into_iter().flatten().collect(),
        alone: Vec::new(),
    }
}
