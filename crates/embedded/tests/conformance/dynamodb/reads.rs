//! Reads: queries, scans, projections.

use aws_sdk_dynamodb::types::AttributeValue;

use super::writes::leased;
use crate::clients::{DynamoDb, Item, n, s};
use crate::suite::{Check, Checked, Facts, Failure, checks};

pub(super) fn all(at: &DynamoDb) -> Vec<Check> {
    checks![at;
        "Query gives a range in order" => query,
        "Query goes page by page" => query_pages,
        "Scan goes page by page" => scan_pages,
        "Scan filters after it has read" => scan_filter,
        "a parallel Scan reads every item once" => scan_segments,
        "a projection gives what is asked for" => projection,
    ]
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
