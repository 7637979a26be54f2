//! What settings files and flags lead to.

use super::*;

const SAMPLE: &str = include_str!("../../../deploy/consumer.yaml");

/// What a file (and flags over it) leads to: `ok`, or an error that contains all of the expected parts.
fn check(yaml: &str, set: &[&str], expected: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("consumer.yaml");
    std::fs::write(&path, yaml).unwrap();
    let args = Args {
        config: Some(path),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        ..Args::default()
    };
    let text = match Settings::load(&args) {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        }
    };
    for part in expected {
        assert!(text.contains(part), "{yaml:?} {set:?}\ngives\n{text}\nwithout {part:?}");
    }
}

const NAMES: &str = "stream: s\napplication: a\n";

#[test]
fn a_file_that_is_wrong_says_where_and_why() {
    check(NAMES, &[], &["ok"]);
    check("", &[], &["`stream` is missing"]);
    check("stream: s\n", &[], &["`application` is missing"]);
    let unknown = format!("{NAMES}max_lease_for_worker: 3\n");
    check(
        &unknown,
        &[],
        &[
            "consumer.yaml",
            "line 3",
            "max_lease_for_worker",
            "max_leases_for_worker",
        ],
    );
    check(
        &format!("{NAMES}max_leases_for_worker: many\n"),
        &[],
        &["line 3", "many"],
    );
    check(
        &format!("{NAMES}strategy: Greedy\n"),
        &[],
        &["line 3", "Greedy", "Balanced"],
    );
    check(&format!("{NAMES}stream: t\n"), &[], &["line 3", "stream"]);
    check("- a\n- b\n", &[], &["line 1"]);
}

#[test]
fn settings_that_contradict_each_other_are_named_both() {
    let both = |set: &[&str], names: &[&str]| check(NAMES, set, names);
    both(
        &["renew_interval_millis=20000"],
        &["renew_interval_millis", "failover_time_millis"],
    );
    both(
        &["settle_time_millis=500", "poll_interval_millis=500"],
        &["poll_interval_millis", "settle_time_millis"],
    );
    both(
        &["handoff_timeout_millis=5000"],
        &["failover_time_millis", "handoff_timeout_millis"],
    );
    both(
        &["grace_period_millis=10000"],
        &["drain_timeout_millis", "grace_period_millis"],
    );
    both(
        &["audit_interval_millis=2000"],
        &["audit_interval_millis", "checkpoint_interval_millis"],
    );
    both(
        &["initial_position=AT_TIMESTAMP"],
        &["initial_position", "initial_timestamp_millis"],
    );
    both(
        &["initial_timestamp_millis=1"],
        &["initial_timestamp_millis", "AT_TIMESTAMP"],
    );
    both(
        &["enable_lease_stealing=false", "strategy=Stealing"],
        &["enable_lease_stealing", "strategy"],
    );
    both(&["read_timeout_millis=300000"], &["read_timeout_millis", "300 s"]);
    both(&["max_leases_for_worker=0"], &["max_leases_for_worker"]);
}

#[test]
fn a_shorter_failover_time_brings_the_times_that_follow_from_it() {
    check(NAMES, &["failover_time_millis=1500"], &["ok"]);
    check(NAMES, &["failover_time_millis=60000"], &["ok"]);
    check(NAMES, &["settle_time_millis=300"], &["ok"]);
}

#[test]
fn a_flag_overrides_the_file_and_the_last_one_wins() {
    let args = |set: &[&str]| Args {
        stream: Some("flag".to_owned()),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        ..Args::default()
    };
    let settings = Settings::load(&args(&[
        "application=a",
        "stream=set",
        "max_records=7",
        "max_records=8",
    ]))
    .unwrap();
    assert_eq!(
        (settings.stream.as_str(), settings.worker.read_records_max),
        ("flag", 8)
    );
    let error = Settings::load(&args(&["application"])).unwrap_err().to_string();
    assert!(error.contains("KEY=VALUE"), "{error}");
    let error = Settings::load(&args(&["max_record=7"])).unwrap_err().to_string();
    assert!(
        error.contains("--set max_record=7") && error.contains("max_records"),
        "{error}"
    );
}

#[test]
fn the_sample_is_what_you_get_without_a_file() {
    let mut sample = Keys::parse(SAMPLE).unwrap();
    // The two that have no default but their own, and a rounding.
    assert_eq!(
        (sample.max_leases_for_worker.take(), sample.renew_interval_millis.take()),
        (Some(10), Some(3_333))
    );
    let bare = Keys {
        stream: sample.stream.clone(),
        application: sample.application.clone(),
        region: sample.region.clone(),
        ..Keys::default()
    };
    assert_eq!(Settings::resolve(sample).unwrap(), Settings::resolve(bare).unwrap());
}

#[test]
fn the_sample_names_every_key() {
    for key in Keys::NAMES {
        assert!(SAMPLE.contains(key), "{key} is not in deploy/consumer.yaml");
    }
}
