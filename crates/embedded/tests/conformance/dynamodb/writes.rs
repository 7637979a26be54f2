//! Writes: conditions, expressions, transactions, batches.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, PutRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, WriteRequest,
};

use crate::clients::{DynamoDb, Item, n, s};
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

const REFUSED: &str = "ConditionalCheckFailedException";

pub(super) fn all(at: &DynamoDb) -> Vec<Check> {
    checks![at;
        "a put on absence succeeds once" => put_if_absent,
        "an update under a condition is refused when it fails" => conditional_update,
        "a refused write returns the item that refused it" => refusal_with_item,
        "an update makes an item that is absent" => upsert,
        "an update returns old or new values as asked" => return_values,
        "unknown attributes survive an update" => survive,
        "ADD counts and adds to sets, DELETE takes away" => add,
        "SET computes, REMOVE removes" => set,
        "a delete under a condition is refused when it fails" => conditional_delete,
        "batches write and read" => batches,
        "a transaction happens as a whole or not at all" => transaction,
        "twenty writers under a version lose no update" => optimistic,
        "consumed capacity is told" => capacity,
    ]
}

async fn put_if_absent(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let put = async |owner: &str| {
        let put = at
            .client
            .put_item()
            .table_name(&name)
            .item("id", s("a"))
            .item("owner", s(owner));
        code(put.condition_expression("attribute_not_exists(id)").send().await)
    };
    facts.same(put("first").await.as_str(), "ok", "first");
    facts.same(put("second").await.as_str(), REFUSED, "second");
    facts.same(
        at.item(&name, "a").await?.ok_or("no item")?.get("owner"),
        Some(&s("first")),
        "owner",
    );
    Ok(facts)
}

/// A table with the item `a`: owner `w1`, epoch 7, and an attribute of somebody else.
pub(super) async fn leased(at: &DynamoDb) -> Result<String, Failure> {
    let name = at.table(false).await?;
    at.put(
        &name,
        [
            ("id", s("a")),
            ("owner", s("w1")),
            ("epoch", n(7)),
            ("theirs", s("kept")),
        ],
    )
    .await?;
    Ok(name)
}

async fn conditional_update(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let update = async |epoch: u32| {
        let update = at.client.update_item().table_name(&name).key("id", s("a"));
        let update = update
            .update_expression("SET #o = :new, epoch = :next")
            .condition_expression("#o = :old AND epoch = :epoch");
        let update = update
            .expression_attribute_names("#o", "owner")
            .expression_attribute_values(":new", s("w2"));
        let update = update
            .expression_attribute_values(":old", s("w1"))
            .expression_attribute_values(":epoch", n(epoch));
        code(update.expression_attribute_values(":next", n(8)).send().await)
    };
    facts.same(update(6).await.as_str(), REFUSED, "an old epoch");
    facts.same(update(7).await.as_str(), "ok", "the epoch");
    facts.same(update(7).await.as_str(), REFUSED, "again");
    let item = at.item(&name, "a").await?.ok_or("no item")?;
    facts.same(
        (item.get("owner"), item.get("epoch")),
        (Some(&s("w2")), Some(&n(8))),
        "the item",
    );
    Ok(facts)
}

async fn refusal_with_item(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let update = at
        .client
        .update_item()
        .table_name(&name)
        .key("id", s("a"))
        .update_expression("SET epoch = :e");
    let update = update
        .condition_expression("epoch = :e")
        .expression_attribute_values(":e", n(6));
    let update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let refused = update.send().await.err().ok_or("not refused")?.into_service_error();
    facts.same(refused.code(), Some(REFUSED), "error");
    let aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(refused) = refused
    else {
        return Ok(facts);
    };
    let item = refused.item.unwrap_or_default();
    facts.same((item.len(), item.get("owner")), (4, Some(&s("w1"))), "the item");
    Ok(facts)
}

async fn upsert(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let update = at
        .client
        .update_item()
        .table_name(&name)
        .key("id", s("a"))
        .update_expression("SET beat = :b");
    update.expression_attribute_values(":b", n(1)).send().await?;
    facts.same(
        at.item(&name, "a").await?.ok_or("no item")?.get("beat"),
        Some(&n(1)),
        "beat",
    );
    Ok(facts)
}

async fn return_values(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let update = async |kind: ReturnValue, epoch: u32| -> Result<Item, Failure> {
        let update = at
            .client
            .update_item()
            .table_name(&name)
            .key("id", s("a"))
            .update_expression("SET epoch = :e");
        let update = update.expression_attribute_values(":e", n(epoch)).return_values(kind);
        Ok(update.send().await?.attributes.unwrap_or_default())
    };
    facts.same(
        update(ReturnValue::AllOld, 8).await?.get("epoch"),
        Some(&n(7)),
        "ALL_OLD",
    );
    let new = update(ReturnValue::AllNew, 9).await?;
    facts.same((new.len(), new.get("epoch")), (4, Some(&n(9))), "ALL_NEW");
    facts.same(
        update(ReturnValue::UpdatedNew, 10).await?,
        [("epoch".to_owned(), n(10))].into(),
        "UPDATED_NEW",
    );
    facts.same(
        update(ReturnValue::UpdatedOld, 11).await?,
        [("epoch".to_owned(), n(10))].into(),
        "UPDATED_OLD",
    );
    facts.same(update(ReturnValue::None, 12).await?.len(), 0, "NONE");
    Ok(facts)
}

async fn survive(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let update = at
        .client
        .update_item()
        .table_name(&name)
        .key("id", s("a"))
        .update_expression("SET epoch = :e");
    update.expression_attribute_values(":e", n(8)).send().await?;
    facts.same(
        at.item(&name, "a").await?.ok_or("no item")?.get("theirs"),
        Some(&s("kept")),
        "theirs",
    );
    Ok(facts)
}

async fn add(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let set = |texts: &[&str]| AttributeValue::Ss(texts.iter().map(ToString::to_string).collect());
    let update = async |expression: &str, value: AttributeValue| {
        let update = at
            .client
            .update_item()
            .table_name(&name)
            .key("id", s("a"))
            .update_expression(expression);
        update.expression_attribute_values(":v", value).send().await
    };
    update("ADD asks :v", n(2)).await?;
    update("ADD asks :v", n(3)).await?;
    update("ADD children :v", set(&["c1"])).await?;
    update("ADD children :v", set(&["c2", "c3"])).await?;
    update("DELETE children :v", set(&["c1", "c3"])).await?;
    let item = at.item(&name, "a").await?.ok_or("no item")?;
    facts.same(item.get("asks"), Some(&n(5)), "the counter");
    facts.same(item.get("children"), Some(&set(&["c2"])), "the set");
    update("DELETE children :v", set(&["c2"])).await?;
    facts.same(
        at.item(&name, "a").await?.ok_or("no item")?.get("children"),
        None,
        "an empty set is gone",
    );
    Ok(facts)
}

async fn set(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let update = at.client.update_item().table_name(&name).key("id", s("a"));
    let update = update.update_expression(
        "SET epoch = epoch + :one, kept = if_not_exists(theirs, :no), made = if_not_exists(made, :no) REMOVE #o",
    );
    let update = update
        .expression_attribute_names("#o", "owner")
        .expression_attribute_values(":one", n(1));
    update.expression_attribute_values(":no", s("no")).send().await?;
    let item = at.item(&name, "a").await?.ok_or("no item")?;
    facts.same(item.get("epoch"), Some(&n(8)), "a sum");
    facts.same(item.get("owner"), None, "removed");
    facts.same(
        (item.get("kept"), item.get("made")),
        (Some(&s("kept")), Some(&s("no"))),
        "if_not_exists",
    );
    Ok(facts)
}

async fn conditional_delete(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let delete = |epoch: u32| {
        let delete = at
            .client
            .delete_item()
            .table_name(&name)
            .key("id", s("a"))
            .condition_expression("epoch = :e");
        delete
            .expression_attribute_values(":e", n(epoch))
            .return_values(ReturnValue::AllOld)
            .send()
    };
    facts.same(code(delete(6).await).as_str(), REFUSED, "an old epoch");
    facts.same(
        delete(7).await?.attributes.unwrap_or_default().get("owner"),
        Some(&s("w1")),
        "ALL_OLD",
    );
    facts.holds(at.item(&name, "a").await?.is_none(), "gone");
    facts.same(code(delete(7).await).as_str(), REFUSED, "again");
    Ok(facts)
}

async fn batches(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let put = |number: u32| -> Result<WriteRequest, Failure> {
        Ok(WriteRequest::builder()
            .put_request(PutRequest::builder().item("id", s(number.to_string())).build()?)
            .build())
    };
    let write = |count: u32| -> Result<_, Failure> {
        let requests = (0..count).map(put).collect::<Result<Vec<_>, _>>()?;
        Ok(at.client.batch_write_item().request_items(&name, requests).send())
    };
    facts.holds(
        write(25)?.await?.unprocessed_items().is_none_or(|rest| rest.is_empty()),
        "all are written",
    );
    facts.same(code(write(26)?.await).as_str(), "ValidationException", "26 at once");
    let keys = (0..30)
        .map(|number: u32| [("id".to_owned(), s(number.to_string()))].into())
        .collect();
    let keys = KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(true)
        .build()?;
    let read = at.client.batch_get_item().request_items(&name, keys).send().await?;
    facts.same(
        read.responses().and_then(|tables| tables.get(&name)).map(Vec::len),
        Some(25),
        "items read",
    );
    Ok(facts)
}

async fn transaction(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let write = async |epoch: u32| -> Result<_, Failure> {
        let check = ConditionCheck::builder()
            .table_name(&name)
            .key("id", s("a"))
            .condition_expression("epoch = :e");
        let check = check.expression_attribute_values(":e", n(epoch)).build()?;
        let put = Put::builder().table_name(&name).item("id", s("b")).build()?;
        let delete = Delete::builder().table_name(&name).key("id", s("c")).build()?;
        let items = [
            TransactWriteItem::builder().condition_check(check).build(),
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().delete(delete).build(),
        ];
        Ok(at
            .client
            .transact_write_items()
            .set_transact_items(Some(items.into()))
            .send()
            .await)
    };
    let refused = write(6).await?.err().ok_or("not refused")?.into_service_error();
    facts.same(refused.code(), Some("TransactionCanceledException"), "error");
    if let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        why,
    ) = refused
    {
        let codes: Vec<_> = why
            .cancellation_reasons()
            .iter()
            .map(|reason| reason.code().unwrap_or("None"))
            .collect();
        facts.same(codes, vec!["ConditionalCheckFailed", "None", "None"], "reasons");
    }
    facts.holds(at.item(&name, "b").await?.is_none(), "nothing is written");
    write(7).await??;
    facts.holds(at.item(&name, "b").await?.is_some(), "all is written");
    Ok(facts)
}

async fn optimistic(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    at.put(&name, [("id", s("a")), ("count", n(0))]).await?;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        writers.spawn(increment(at.clone(), name.clone(), 20));
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    facts.same(
        at.item(&name, "a").await?.ok_or("no item")?.get("count"),
        Some(&n(400)),
        "the sum of 20 x 20",
    );
    Ok(facts)
}

/// Reads, adds one and writes on the condition that nobody else has written, so many times with success.
async fn increment(at: DynamoDb, table: String, times: u32) -> Result<(), Failure> {
    for _ in 0..times {
        loop {
            let item = at.item(&table, "a").await?.ok_or("no item")?;
            let count: u32 = item["count"].as_n().map_err(|_| "no number")?.parse()?;
            let update = at
                .client
                .update_item()
                .table_name(&table)
                .key("id", s("a"))
                .update_expression("SET #c = :next");
            let update = update
                .condition_expression("#c = :seen")
                .expression_attribute_names("#c", "count");
            let update = update
                .expression_attribute_values(":next", n(count + 1))
                .expression_attribute_values(":seen", n(count));
            match code(update.send().await).as_str() {
                "ok" => break,
                REFUSED => {}
                other => return Err(other.into()),
            }
        }
    }
    Ok(())
}

async fn capacity(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let put = at
        .client
        .put_item()
        .table_name(&name)
        .item("id", s("a"))
        .item("x", s("x".repeat(1_500)));
    let told = put
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send()
        .await?
        .consumed_capacity;
    facts.same(told.and_then(|told| told.capacity_units), Some(2.0), "1.5 KB written");
    let get = at
        .client
        .get_item()
        .table_name(&name)
        .key("id", s("a"))
        .consistent_read(true);
    let told = get
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send()
        .await?
        .consumed_capacity;
    facts.same(
        told.and_then(|told| told.capacity_units),
        Some(1.0),
        "1.5 KB read consistently",
    );
    Ok(facts)
}
