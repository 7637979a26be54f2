//! DynamoDB: what a lease table and its neighbours need.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, PutRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, Tag, TimeToLiveSpecification, TransactWriteItem, WriteRequest,
};

use crate::clients::{DynamoDb, Item, n, s};
use crate::suite::{Check, Checked, Facts, Failure, checks, code, eventually};

const REFUSED: &str = "ConditionalCheckFailedException";

pub(crate) fn all(at: &DynamoDb) -> Vec<Check> {
    checks![at;
        "a table has the keys that it was made with" => described,
        "a table that exists is not made again" => twice,
        "a missing table is ResourceNotFound" => missing,
        "a deleted table is gone" => deleted,
        "ListTables gives the names page by page" => list_tables,
        "all types of values come back" => types,
        "a number keeps 38 digits" => digits,
        "a put on absence succeeds once" => put_if_absent,
        "an update under a condition is refused when it fails" => conditional_update,
        "a refused write returns the item that refused it" => refusal_with_item,
        "an update makes an item that is absent" => upsert,
        "an update returns old or new values as asked" => return_values,
        "unknown attributes survive an update" => survive,
        "ADD counts and adds to sets, DELETE takes away" => add,
        "SET computes, REMOVE removes" => set,
        "a delete under a condition is refused when it fails" => conditional_delete,
        "Query gives a range in order" => query,
        "Query goes page by page" => query_pages,
        "Scan goes page by page" => scan_pages,
        "Scan filters after it has read" => scan_filter,
        "a parallel Scan reads every item once" => scan_segments,
        "a projection gives what is asked for" => projection,
        "batches write and read" => batches,
        "a transaction happens as a whole or not at all" => transaction,
        "twenty writers under a version lose no update" => optimistic,
        "an item has 400 KB at most" => item_bounds,
        "a key of the wrong type is refused" => wrong_key,
        "consumed capacity is told" => capacity,
        "tags are kept" => tags,
        "the time to live is kept" => time_to_live,
    ]
}

async fn described(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(true).await?;
    let table = at
        .client
        .describe_table()
        .table_name(&name)
        .send()
        .await?
        .table
        .ok_or("no table")?;
    let keys: Vec<_> = table
        .key_schema()
        .iter()
        .map(|key| (key.attribute_name.as_str(), key.key_type.as_str()))
        .collect();
    facts.same(keys, vec![("id", "HASH"), ("at", "RANGE")], "keys");
    facts.same(table.attribute_definitions().len(), 2, "attributes");
    facts.holds(
        table.table_arn().is_some_and(|arn| arn.ends_with(&name)),
        "the ARN ends with the name",
    );
    Ok(facts)
}

async fn twice(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let table = at
        .client
        .describe_table()
        .table_name(&name)
        .send()
        .await?
        .table
        .ok_or("no table")?;
    let again = at
        .client
        .create_table()
        .table_name(&name)
        .set_key_schema(table.key_schema);
    let again = again.set_attribute_definitions(table.attribute_definitions);
    let again = again
        .billing_mode(aws_sdk_dynamodb::types::BillingMode::PayPerRequest)
        .send()
        .await;
    facts.same(code(again).as_str(), "ResourceInUseException", "CreateTable");
    Ok(facts)
}

async fn missing(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let gone = "ResourceNotFoundException";
    let client = &at.client;
    facts.same(
        code(client.describe_table().table_name("none").send().await).as_str(),
        gone,
        "DescribeTable",
    );
    facts.same(
        code(client.scan().table_name("none").send().await).as_str(),
        gone,
        "Scan",
    );
    let update = client.update_item().table_name("none").key("id", s("a")).send().await;
    facts.same(code(update).as_str(), gone, "UpdateItem");
    Ok(facts)
}

async fn deleted(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    at.client.delete_table().table_name(&name).send().await?;
    eventually("the table is gone", async || {
        let asked = at.client.describe_table().table_name(&name).send().await;
        Ok((code(asked) == "ResourceNotFoundException").then_some(()))
    })
    .await?;
    facts.holds(at.item(&name, "a").await.is_err(), "nothing is read");
    Ok(facts)
}

async fn list_tables(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(at.table(false).await?);
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = at
            .client
            .list_tables()
            .limit(2)
            .set_exclusive_start_table_name(after)
            .send()
            .await?;
        facts.holds(page.table_names().len() <= 2, "a page has no more than asked for");
        found.extend(page.table_names.unwrap_or_default());
        after = page.last_evaluated_table_name;
        if after.is_none() {
            break;
        }
    }
    facts.holds(made.iter().all(|name| found.contains(name)), "all are listed");
    facts.holds(found.windows(2).all(|pair| pair[0] < pair[1]), "sorted, none twice");
    Ok(facts)
}

async fn types(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let values = [
        ("s", s("ä \" 鍵")),
        ("n", n("-1.5")),
        ("b", AttributeValue::B(Blob::new([0, 255]))),
        ("bool", AttributeValue::Bool(true)),
        ("null", AttributeValue::Null(true)),
        ("l", AttributeValue::L(vec![s("a"), n(1)])),
        ("m", AttributeValue::M([("k".to_owned(), s("v"))].into())),
        ("empty", s("")),
    ];
    let sets = [("ss", texts(&["a", "b"])), ("ns", texts(&["1", "2"]))];
    let put = at.client.put_item().table_name(&name).item("id", s("a"));
    let put = values
        .iter()
        .fold(put, |put, (name, value)| put.item(*name, value.clone()));
    let put = put
        .item("ss", AttributeValue::Ss(sets[0].1.clone()))
        .item("ns", AttributeValue::Ns(sets[1].1.clone()));
    put.send().await?;
    let item = at.item(&name, "a").await?.ok_or("no item")?;
    for (name, value) in &values {
        facts.same(item.get(*name), Some(value), name);
    }
    let sorted = |set: Option<&Vec<String>>| {
        let mut set = set.cloned().unwrap_or_default();
        set.sort();
        set
    };
    facts.same(sorted(item["ss"].as_ss().ok()), sets[0].1.clone(), "ss");
    facts.same(sorted(item["ns"].as_ns().ok()), sets[1].1.clone(), "ns");
    Ok(facts)
}

async fn digits(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let long = "12345678901234567890123456789012345678";
    at.put(&name, [("id", s("a")), ("n", n(long))]).await?;
    let item = at.item(&name, "a").await?.ok_or("no item")?;
    facts.same(item.get("n"), Some(&n(long)), "38 digits");
    let longer = at.put(&name, [("id", s("b")), ("n", n(format!("{long}1")))]).await;
    facts.holds(longer.is_err(), "39 digits are refused");
    Ok(facts)
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
async fn leased(at: &DynamoDb) -> Result<String, Failure> {
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

/// A table with the items `a` 0..9 and `b` 0..4.
async fn ranged(at: &DynamoDb) -> Result<String, Failure> {
    let name = at.table(true).await?;
    for (id, count) in [("a", 10), ("b", 5)] {
        for number in 0..count {
            at.put(
                &name,
                [
                    ("id", s(id)),
                    ("at", n(number)),
                    ("even", AttributeValue::Bool(number % 2 == 0)),
                ],
            )
            .await?;
        }
    }
    Ok(name)
}

fn numbers(items: &[Item]) -> Vec<u32> {
    items
        .iter()
        .filter_map(|item| item.get("at")?.as_n().ok()?.parse().ok())
        .collect()
}

async fn query(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = ranged(&at).await?;
    let ask = || {
        let ask = at.client.query().table_name(&name).consistent_read(true);
        let ask = ask
            .key_condition_expression("id = :i AND #at BETWEEN :l AND :h")
            .expression_attribute_names("#at", "at");
        let ask = ask
            .expression_attribute_values(":i", s("a"))
            .expression_attribute_values(":l", n(3));
        ask.expression_attribute_values(":h", n(6))
    };
    facts.same(numbers(ask().send().await?.items()), vec![3, 4, 5, 6], "forward");
    facts.same(
        numbers(ask().scan_index_forward(false).send().await?.items()),
        vec![6, 5, 4, 3],
        "backward",
    );
    Ok(facts)
}

async fn query_pages(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = ranged(&at).await?;
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let ask = at
            .client
            .query()
            .table_name(&name)
            .limit(4)
            .set_exclusive_start_key(after);
        let ask = ask
            .key_condition_expression("id = :i")
            .expression_attribute_values(":i", s("a"));
        let page = ask.send().await?;
        found.extend(numbers(page.items()));
        pages += 1;
        after = page.last_evaluated_key;
        if after.is_none() {
            break;
        }
    }
    facts.same(found, (0..10).collect(), "items");
    facts.same(pages, 3, "pages");
    Ok(facts)
}

async fn scan_pages(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = ranged(&at).await?;
    let (mut found, mut after) = (0, None);
    loop {
        let page = at
            .client
            .scan()
            .table_name(&name)
            .limit(4)
            .set_exclusive_start_key(after)
            .send()
            .await?;
        facts.holds(page.count <= 4, "a page has no more than asked for");
        found += page.count;
        after = page.last_evaluated_key;
        if after.is_none() {
            break;
        }
    }
    facts.same(found, 15, "items");
    Ok(facts)
}

async fn scan_filter(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = ranged(&at).await?;
    let scan = at.client.scan().table_name(&name).filter_expression("even = :t");
    let answer = scan
        .expression_attribute_values(":t", AttributeValue::Bool(true))
        .send()
        .await?;
    facts.same((answer.count, answer.scanned_count), (8, 15), "found and read");
    Ok(facts)
}

async fn scan_segments(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    for number in 0..30 {
        at.put(&name, [("id", s(format!("item-{number}")))]).await?;
    }
    let mut found = Vec::new();
    for segment in 0..4 {
        let scan = at
            .client
            .scan()
            .table_name(&name)
            .segment(segment)
            .total_segments(4)
            .send()
            .await?;
        found.extend(
            scan.items()
                .iter()
                .filter_map(|item| item.get("id")?.as_s().ok().cloned()),
        );
    }
    facts.same(found.len(), 30, "items");
    found.sort();
    found.dedup();
    facts.same(found.len(), 30, "different items");
    Ok(facts)
}

async fn projection(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = leased(&at).await?;
    let get = at
        .client
        .get_item()
        .table_name(&name)
        .key("id", s("a"))
        .projection_expression("#o, epoch");
    let item = get
        .expression_attribute_names("#o", "owner")
        .send()
        .await?
        .item
        .unwrap_or_default();
    facts.same(
        item,
        [("owner".to_owned(), s("w1")), ("epoch".to_owned(), n(7))].into(),
        "attributes",
    );
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

async fn item_bounds(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let put = async |size: usize| {
        let put = at
            .client
            .put_item()
            .table_name(&name)
            .item("id", s("a"))
            .item("x", s("x".repeat(size)));
        code(put.send().await)
    };
    facts.same(put(400 * 1024 - 10).await.as_str(), "ok", "400 KB");
    facts.same(put(400 * 1024 + 1).await.as_str(), "ValidationException", "more");
    Ok(facts)
}

async fn wrong_key(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let get = at.client.get_item().table_name(&name).key("id", n(1)).send().await;
    facts.same(code(get).as_str(), "ValidationException", "a number as the key");
    let get = at.client.get_item().table_name(&name).key("other", s("a")).send().await;
    facts.same(
        code(get).as_str(),
        "ValidationException",
        "another attribute as the key",
    );
    Ok(facts)
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

async fn tags(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let table = at
        .client
        .describe_table()
        .table_name(&name)
        .send()
        .await?
        .table
        .ok_or("no table")?;
    let arn = table.table_arn.ok_or("no ARN")?;
    let tag = Tag::builder().key("team").value("blue").build()?;
    at.client.tag_resource().resource_arn(&arn).tags(tag).send().await?;
    let tags = at.client.list_tags_of_resource().resource_arn(&arn).send().await?;
    let tags: Vec<_> = tags
        .tags()
        .iter()
        .map(|tag| (tag.key.as_str(), tag.value.as_str()))
        .collect();
    facts.same(tags, vec![("team", "blue")], "tags");
    Ok(facts)
}

async fn time_to_live(at: DynamoDb) -> Checked {
    let mut facts = Facts::new();
    let name = at.table(false).await?;
    let setting = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("until")
        .build()?;
    at.client
        .update_time_to_live()
        .table_name(&name)
        .time_to_live_specification(setting)
        .send()
        .await?;
    let told = at
        .client
        .describe_time_to_live()
        .table_name(&name)
        .send()
        .await?
        .time_to_live_description;
    facts.same(
        told.and_then(|told| told.attribute_name).as_deref(),
        Some("until"),
        "attribute",
    );
    Ok(facts)
}
