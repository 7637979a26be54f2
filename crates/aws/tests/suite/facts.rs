//! Facts in the workers' table.

use kinex_aws::FaultKind;

use crate::bench::Bench;

#[tokio::test]
async fn a_fact_is_replaced_whole_and_lists_come_in_order() {
    let bench = Bench::start().await;
    let (_, application) = bench.store().await;
    let facts = bench.clients.facts(&application);
    for (id, body) in [("b", "{}"), ("a", "1"), ("b", "{\"n\":2}")] {
        facts.put("audit", id, body).await.expect("put");
    }
    facts.put("producer", "c", "3").await.expect("put");
    let list = facts.list("audit").await.expect("list");
    assert_eq!(list, [("a".into(), "1".into()), ("b".into(), "{\"n\":2}".into())]);
    facts.delete("audit", "a").await.expect("delete");
    facts.delete("audit", "a").await.expect("delete again");
    assert_eq!(facts.get("audit", "a").await.expect("get"), None);
    assert_eq!(facts.get("producer", "c").await.expect("get"), Some("3".into()));
}

#[tokio::test]
async fn the_first_claim_of_a_fact_stands() {
    let bench = Bench::start().await;
    let (_, application) = bench.store().await;
    let facts = bench.clients.facts(&application);
    assert_eq!(facts.claim("stream", "s", "mine").await.expect("claim"), "mine");
    assert_eq!(facts.claim("stream", "s", "theirs").await.expect("claim"), "mine");
}

#[tokio::test]
async fn facts_of_more_than_a_page_are_all_listed() {
    let bench = Bench::start().await;
    let (_, application) = bench.store().await;
    let facts = bench.clients.facts(&application);
    let body = "x".repeat(300_000);
    for number in 0..5 {
        facts
            .put("audit", &format!("shard-{number}"), &body)
            .await
            .expect("put");
    }
    let list = facts.list("audit").await.expect("list");
    assert_eq!(list.len(), 5);
    assert!(list.iter().all(|(_, found)| *found == body));
}

#[tokio::test]
async fn a_workers_row_is_no_fact_and_a_body_has_a_limit() {
    let bench = Bench::start().await;
    let (_, application) = bench.store().await;
    let facts = bench.clients.facts(&application);
    for (kind, body) in [("member", "{}".to_owned()), ("audit", "x".repeat(350_001))] {
        let fault = facts.put(kind, "w", &body).await.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    }
}
