//! Tables: made, described, deleted; types and bounds of what is in them.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Tag, TimeToLiveSpecification};

use crate::clients::{DynamoDb, n, s};
use crate::suite::{Check, Checked, Facts, checks, code, eventually};

pub(super) fn all(at: &DynamoDb) -> Vec<Check> {
    checks![at;
        "a table has the keys that it was made with" => described,
        "a table that exists is not made again" => twice,
        "a missing table is ResourceNotFound" => missing,
        "a deleted table is gone" => deleted,
        "ListTables gives the names page by page" => list_tables,
        "all types of values come back" => types,
        "a number keeps 38 digits" => digits,
        "an item has 400 KB at most" => item_bounds,
        "a key of the wrong type is refused" => wrong_key,
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
