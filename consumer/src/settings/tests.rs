use super::*;

fn check(yaml: &str, expected: &str) {
    let outcome = Keys::parse(yaml)
        .map_err(Error::Settings)
        .and_then(|keys| Settings::resolve(keys));
    let text = match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    println!("{yaml}\n=> {text}\n");
    assert!(
        text.contains(expected),
        "{yaml:?} gives {text:?}, expected {expected:?}"
    );
}

#[test]
fn a_file_that_is_wrong_says_where_and_why() {
    check("stream: s\napplication: a\n", "ok");
    check("", "`stream` is missing");
    check("stream: s\n", "`application` is missing");
    check(
        "stream: s\napplication: a\nmax_lease_for_worker: 3\n",
        "max_lease_for_worker",
    );
    check("stream: s\napplication: a\nmax_lease_for_worker: 3\n", "line 3");
    check(
        "stream: s\napplication: a\nmax_lease_for_worker: 3\n",
        "max_leases_for_worker",
    );
    check("stream: s\napplication: a\nmax_leases_for_worker: many\n", "line 3");
    check("stream: s\napplication: a\nstrategy: Greedy\n", "Balanced");
}
