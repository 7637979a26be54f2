//! One DynamoDB table: conditional writes, consistent reads, all pages.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure, WriteRequest};
use kinex_core::member::Written;

use crate::expression::Expression;
use crate::fault::{Asked, Failure, Subject};
use crate::item::{Item, s};
use crate::worker_row::{Filter, KIND};
use crate::{Clients, Fault, FaultKind};

/// A table by name.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    clients: Clients,
    name: String,
}

impl Table {
    pub(crate) fn new(clients: &Clients, name: String) -> Self {
        Self {
            clients: clients.clone(),
            name,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn asked(&self, api: &'static str) -> Asked<'_> {
        Asked {
            api,
            subject: Subject::Table(&self.name),
            place: self.clients.dynamodb_place(),
        }
    }

    /// Carries out a conditional write, with the budget of `client`.
    pub(crate) async fn write(&self, client: &Client, expression: &Expression) -> Result<Written<Item>, Fault> {
        let refused = if expression.is_delete() {
            match self.delete(client, expression).await? {
                Ok(()) => return Ok(Written::Done(None)),
                Err(item) => item,
            }
        } else {
            match self.update(client, expression).await? {
                Ok(item) => return Ok(Written::Done(Some(item))),
                Err(item) => item,
            }
        };
        match refused {
            Some(item) => Ok(Written::Refused(Some(item))),
            // There was no item, or the service does not send it along.
            None => Ok(Written::Refused(self.get(client, expression.key()).await?)),
        }
    }

    /// The item after the update, or the one that refused it.
    async fn update(&self, client: &Client, expression: &Expression) -> Result<Result<Item, Option<Item>>, Fault> {
        let request = client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(expression.key()))
            .set_condition_expression(expression.condition())
            .set_update_expression(expression.update())
            .set_expression_attribute_names(Some(expression.names()))
            .set_expression_attribute_values(non_empty(expression.values()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => Ok(Ok(answer.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => Ok(Err(refused.item.clone())),
                _ => Err(self.asked("UpdateItem").failed(&Failure::of(&error))),
            },
        }
    }

    /// Nothing, or the item that refused the deletion.
    async fn delete(&self, client: &Client, expression: &Expression) -> Result<Result<(), Option<Item>>, Fault> {
        let request = client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(expression.key()))
            .set_condition_expression(expression.condition())
            .set_expression_attribute_names(non_empty(expression.names()))
            .set_expression_attribute_values(non_empty(expression.values()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) => Ok(Err(refused.item.clone())),
                _ => Err(self.asked("DeleteItem").failed(&Failure::of(&error))),
            },
        }
    }

    /// Replaces items without a condition, in one request. Returns those that the service has not taken.
    pub(crate) async fn put_all(
        &self,
        client: &Client,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<Vec<Item>, Fault> {
        let mut writes = Vec::new();
        for item in items {
            let put = PutRequest::builder().set_item(Some(item)).build();
            let put = put.map_err(|error| {
                self.asked("BatchWriteItem")
                    .fault(FaultKind::Invalid, error.to_string())
            })?;
            writes.push(WriteRequest::builder().put_request(put).build());
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let answer = client.batch_write_item().request_items(&self.name, writes).send().await;
        let answer = answer.map_err(|error| self.asked("BatchWriteItem").failed(&Failure::of(&error)))?;
        let left = answer.unprocessed_items.unwrap_or_default().into_values().flatten();
        Ok(left.filter_map(|write| Some(write.put_request?.item)).collect())
    }

    /// One item, read consistently.
    pub(crate) async fn get(&self, client: &Client, key: Item) -> Result<Option<Item>, Fault> {
        let request = client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(true);
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.asked("GetItem").failed(&Failure::of(&error)))?;
        Ok(answer.item)
    }

    /// Every item, read consistently.
    pub(crate) async fn scan(&self) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let request = self.clients.plans().scan().table_name(&self.name).consistent_read(true);
            let answer = request.set_exclusive_start_key(from).send().await;
            let answer = answer.map_err(|error| self.asked("Scan").failed(&Failure::of(&error)))?;
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// Every item of a kind that meets the filter, read consistently, in the order of the ids. (DynamoDB reads, and
    /// charges for, what the filter leaves out: it saves the way here and what it costs to decode.)
    pub(crate) async fn of_kind(&self, kind: &str, filter: Option<&Filter>) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let mut request = self
                .clients
                .plans()
                .query()
                .table_name(&self.name)
                .consistent_read(true)
                .key_condition_expression("#kind = :kind")
                .expression_attribute_names("#kind", KIND)
                .expression_attribute_values(":kind", s(kind));
            if let Some(filter) = filter {
                request = request.filter_expression(filter.condition);
                for (name, attribute) in filter.names {
                    request = request.expression_attribute_names(name, attribute);
                }
                for (name, value) in &filter.values {
                    request = request.expression_attribute_values(*name, value.clone());
                }
            }
            let answer = request.set_exclusive_start_key(from).send().await;
            let answer = answer.map_err(|error| self.asked("Query").failed(&Failure::of(&error)))?;
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(items);
            }
        }
    }
}

/// DynamoDB refuses an empty map of names or values.
fn non_empty<T>(map: std::collections::HashMap<String, T>) -> Option<std::collections::HashMap<String, T>> {
    (!map.is_empty()).then_some(map)
}
