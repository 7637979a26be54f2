//! Assertions, accepted and judged.

use super::*;

fn accepted(expr: &str) {
    assert_eq!(check(expr, &["steady", "split-ten"]), Ok(()), "{expr}");
}

fn refused(expr: &str, words: &[&str]) {
    let error = check(expr, &["steady", "split-ten"]).expect_err(expr);
    let said = format!("{error}; {}", error.hint());
    for word in words {
        assert!(said.contains(word), "{expr}: {said:?} does not say {word:?}");
    }
}

#[test]
fn what_people_write_is_accepted() {
    for expr in [
        "leases.unassigned == 0 && leases.active == 20",
        "leases.byWorker.all(w, leases.byWorker[w] == 6)",
        "leases.byWorker['some-worker'] == 6",
        "leases.cv < 0.05",
        "steps['steady'].seconds <= 120.0",
        "steps['steady'].seconds <= 120",
        "steps.steady.moves == steps['steady'].movesMinimum",
        "has(steps['split-ten'].convergenceSeconds) || stream.status == 'ACTIVE'",
        "workers.names.size() == workers.live",
        "double(leases.max) == 5.0 || leases.mean >= 5.0",
        "workers.names.exists(name, name.startsWith('w')) && !(stream.open in [1, 2])",
        "lineage.childrenStartedBeforeParentEnd == lineage.children",
    ] {
        accepted(expr);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_place_and_what_there_is() {
    refused("stream.open == ", &["column", "stream.open == "]);
    refused(
        "leases.maximum < 7",
        &["column 1", "`leases.maximum`", "byWorker", "imbalance"],
    );
    refused(
        "1 < 2 && lease.max < 7",
        &[
            "column 10",
            "`lease`",
            "leases, stream, workers, lineage, records, steps",
        ],
    );
    refused(
        "steps['stedy'].seconds < 5.0",
        &["no step `stedy`", "steady, split-ten"],
    );
    refused(
        "steps['steady'].second < 5.0",
        &["steps['steady'].second", "convergenceSeconds"],
    );
    refused("steps['steady'].seconds == 5", &["never equals", "5.0"]);
    refused("leases.cv == 0", &["`leases.cv`"]);
    refused("0 != leases.cv", &["never equals"]);
    refused("leases.max", &["neither true nor false"]);
    refused("leases.max == 'six' && frob(1)", &["frob"]);
    refused("records.missing + 'x' == 3", &["column"]);
}

#[test]
fn no_whole_number_is_unsigned_and_none_has_a_fraction() {
    let facts = Facts::sample(&["steady"]);
    assert_eq!(
        evaluate(
            "records.missing == 1 && leases.cv == 1.0 && stream.open - 2 == -1",
            &facts
        ),
        Ok(())
    );
    assert_eq!(evaluate("steps['steady'].seconds <= 1", &facts), Ok(()));
}

#[test]
fn what_does_not_hold_is_told_with_its_values() {
    let facts = Facts::sample(&["steady"]);
    assert_eq!(
        evaluate("leases.max == 6 && steps['steady'].seconds < 0.5", &facts),
        Err("`leases.max == 6 && steps['steady'].seconds < 0.5` is false; leases.max = 1, steps['steady'].seconds = 1.0".to_owned())
    );
    let unknown = evaluate("leases.byWorker['nobody'] == 1", &facts).unwrap_err();
    assert!(
        unknown.contains("there is no `nobody` yet") && unknown.contains("{worker-0: 1}"),
        "{unknown}"
    );
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a golden file is refreshed when asked from outside"
)]
fn the_documented_fields_are_the_fields() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/assertions.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, _) = text.split_once("<!-- fields -->\n").expect("the page has a mark");
    let wanted = format!("{head}<!-- fields -->\n{}", documented());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(
        text == wanted,
        "docs/assertions.md is old: UPDATE=1 cargo test -p kinex-core documented_fields"
    );
}
