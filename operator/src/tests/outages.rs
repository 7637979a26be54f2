//! Whole experiments while the API server fails in every way at every call: each ends as if nothing had been, nothing is done
//! twice, and nothing of others is touched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kinex_aws::FaultKind;
use kinex_embedded::Endpoints;
use serde_json::{Value, json};

use super::api_server::{ApiServer, Fault};
use super::lab::{Lab, MAPS, endpoints};

/// Two workers become three, two shards three, a pod is deleted.
const SPEC: &str = "  stream: {name: NAME, initialShards: 2, deletionPolicy: Delete}
  replicas: 2
  balance: {stableFor: 500ms, timeout: 2m}
  steps:
    - {name: steady, waitUntilBalanced: {}}
    - {name: split, split: {count: 1}}
    - {name: scale, scale: {replicas: 3}}
    - {name: kill, killPod: {mode: Delete}}
    - {name: balanced, waitUntilBalanced: {}}
    - {name: verify, timeout: 1m, assert: {all: [{name: shards, expr: \"stream.total == 4 && stream.open == 3\"}]}}
";

/// However slow the machine is.
const LIMIT: Duration = Duration::from_secs(300);

const SETS: &str = "/apis/apps/v1/namespaces/lab/statefulsets";
const PODS: &str = "/api/v1/namespaces/lab/pods";

/// Puts somebody else's objects there, by names and labels much like the experiment's.
fn strangers(server: &ApiServer, name: &str) -> Vec<(String, Value)> {
    let labels = json!({
        "app.kubernetes.io/managed-by": "kinex-operator", "app.kubernetes.io/component": "consumer",
        "kinex.dev/experiment": name, "kinex.dev/experiment-uid": "another",
    });
    let metadata = |name: String| json!({ "name": name, "labels": labels });
    let report = json!({
        "name": format!("{name}-report-7"),
        "labels": { "kinex.dev/experiment": name, "kinex.dev/experiment-uid": "another", "app.kubernetes.io/component": "report" },
        "annotations": { "kinex.dev/run-nonce": "7" },
    });
    let pod = json!({ "containers": [{ "name": "consumer" }] });
    let set = json!({ "replicas": 7, "selector": {}, "template": {} });
    let objects = [
        (
            format!("{PODS}/{name}-consumer-90"),
            json!({ "kind": "Pod", "metadata": metadata(format!("{name}-consumer-90")), "spec": pod }),
        ),
        (
            format!("{SETS}/{name}-other"),
            json!({ "kind": "StatefulSet", "metadata": metadata(format!("{name}-other")), "spec": set }),
        ),
        (
            format!("{MAPS}/{name}-report-7"),
            json!({ "kind": "ConfigMap", "metadata": report, "data": { "a": "b" } }),
        ),
    ];
    objects
        .map(|(path, object)| {
            let object = server.put(&path, object);
            (path, object)
        })
        .into()
}

/// What one experiment came to.
struct Played {
    calls: BTreeMap<String, u32>,
    writes: usize,
    took: Duration,
}

/// Plays the whole experiment, deletes it, and looks at what there is then.
async fn play(endpoints: &Endpoints, name: &str, faults: &[Case]) -> Result<Played, String> {
    let server = ApiServer::default();
    let theirs = strangers(&server, name);
    for Case {
        call,
        from,
        times,
        fault,
    } in faults
    {
        server.arm(call, *from, *times, *fault);
    }
    let lab = Lab::start(endpoints, &server, name, &SPEC.replace("NAME", name)).await;
    // A report of an old run, which is the experiment's own to delete.
    let uid = lab.object().expect("it was put there")["metadata"]["uid"].clone();
    let old = json!({
        "kind": "ConfigMap",
        "metadata": {
            "name": format!("{name}-report-8"),
            "labels": { "kinex.dev/experiment-uid": uid, "app.kubernetes.io/component": "report" },
            "annotations": { "kinex.dev/run-nonce": "8" },
        },
    });
    server.put(&format!("{MAPS}/{name}-report-8"), old);

    let played = judge(&lab, &theirs).await;
    let played = played.map(|took| Played {
        calls: server.calls(),
        writes: server.writes().len(),
        took,
    });
    lab.stop().await;
    played
}

async fn judge(lab: &Lab, theirs: &[(String, Value)]) -> Result<Duration, String> {
    let (name, server) = (&lab.name, &lab.server);
    let fails = |what: String| Err(format!("{name}: {what}: {}", lab.status()));
    let mut took = lab.complete(LIMIT).await?;
    let status = lab.status();
    if status["verdict"] != "Pass" {
        return fails("another verdict".to_owned());
    }
    let done = |lab: &Lab| {
        let old = format!("{MAPS}/{}-report-8", lab.name);
        lab.condition("Stalled").0 == "False" && lab.server.get(&old).is_none()
    };
    lab.until("end of the condition, and of the old report", LIMIT, done)
        .await?;
    let set = server.get(&format!("{SETS}/{name}-consumer")).expect("it is there");
    // Created with one worker, and scaled twice.
    if set["metadata"]["generation"] != 3 || set["spec"]["replicas"] != 3 {
        return fails(format!("scaled otherwise than twice: {set}"));
    }
    let pods: Vec<u32> = server
        .below(&format!("{PODS}/{name}-consumer-"))
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str()?.strip_prefix("pod-")?.parse().ok())
        .collect();
    if pods.len() != 3 || pods.iter().max() != Some(&4) {
        return fails(format!("another number of pods was started: {pods:?}"));
    }
    let reports = server.below(&format!("{MAPS}/{name}-report-"));
    let names: Vec<_> = reports.iter().map(|map| map["metadata"]["name"].clone()).collect();
    if names != [format!("{name}-report-0"), format!("{name}-report-7")] {
        return fails(format!("other reports: {names:?}"));
    }
    if status["created"]["stream"].is_null() || status["created"]["leaseTable"].is_null() {
        return fails("what was created is not noted".to_owned());
    }
    server.delete(&lab.path());
    took += lab
        .until("end of the experiment", LIMIT, |lab| lab.object().is_none())
        .await?;
    let streams = lab.clients.streams();
    let missing = |kind: Option<FaultKind>| kind == Some(FaultKind::Missing);
    if !missing(streams.describe(name).await.err().map(|fault| fault.kind))
        || !missing(lab.clients.tables(name).check().await.err().map(|fault| fault.kind))
    {
        return Err(format!("{name}: the stream or the tables are left behind"));
    }
    for (path, before) in theirs {
        if server.get(path).as_ref() != Some(before) {
            return Err(format!("{name}: {path} is not as it was"));
        }
    }
    Ok(took)
}

/// A fault at a call, from its so-manieth coming on.
#[derive(Clone, Debug)]
struct Case {
    call: String,
    from: u32,
    times: u32,
    fault: Fault,
}

/// The places where faults can strike: the first coming of each call, and of frequent ones another where the run is at work.
fn places(calm: &Played) -> Vec<(String, u32)> {
    let mut places = Vec::new();
    for (call, count) in &calm.calls {
        places.push((call.clone(), 1));
        if *count >= 6 {
            places.push((call.clone(), count / 2));
        }
    }
    places
}

/// Plays an experiment for each of these sets of faults, some at the same time, and gives what was wrong.
async fn play_all(sets: Vec<Vec<Case>>, at_once: usize, writes_max: impl Fn(&Played) -> usize) -> Vec<String> {
    let endpoints = endpoints().await;
    let calm = play(&endpoints, "calm", &[])
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let writes_max = writes_max(&calm);
    let runs = sets.into_iter().enumerate().map(|(number, faults)| {
        let endpoints = &endpoints;
        async move {
            let wrong = match play(endpoints, &format!("case-{number}"), &faults).await {
                Err(error) => error,
                Ok(played) if played.writes > writes_max => format!("{} writes", played.writes),
                Ok(_) => return None,
            };
            let wrong = format!("{wrong}, with {faults:?}");
            println!("{wrong}");
            Some(wrong)
        }
    });
    let runs: Vec<_> = runs.collect();
    let wrong = futures::stream::iter(runs)
        .buffer_unordered(at_once)
        .collect::<Vec<_>>()
        .await;
    endpoints.stop().await;
    wrong.into_iter().flatten().collect()
}

async fn calm() -> Played {
    let endpoints = endpoints().await;
    let calm = play(&endpoints, "calm", &[])
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    println!("{} writes in {:?}: {:?}", calm.writes, calm.took, calm.calls);
    endpoints.stop().await;
    calm
}

/// In each run every call meets a fault, and over all runs every call meets every fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_call_changes_nothing_of_a_run() {
    let calm = calm().await;
    let places = places(&calm);
    let all = Fault::ALL.len();
    let set = |run: usize| {
        let cases = places.iter().enumerate().map(|(place, (call, from))| Case {
            call: call.clone(),
            from: *from,
            times: 1,
            fault: Fault::ALL[(run + place) % all],
        });
        cases.collect::<Vec<_>>()
    };
    let wrong = play_all((0..all).map(set).collect(), all, |calm| 4 * calm.writes).await;
    println!(
        "{} calls x {all} faults in {all} runs: {} wrong",
        calm.calls.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: one run for each call and fault, to find out which one it is"]
async fn one_fault_at_one_call_changes_nothing_of_a_run() {
    let calm = calm().await;
    let cases = places(&calm).into_iter().flat_map(|(call, from)| {
        Fault::ALL.map(|fault| {
            let call = call.clone();
            let times = if fault == Fault::Silent { 1 } else { 2 };
            vec![Case {
                call,
                from,
                times,
                fault,
            }]
        })
    });
    let cases: Vec<_> = cases.collect();
    let total = cases.len();
    let wrong = play_all(cases, 8, |calm| 2 * calm.writes + 20).await;
    println!(
        "{} calls x {} faults: {total} runs, {} wrong",
        calm.calls.len(),
        Fault::ALL.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A run that stands in its only step for long enough.
const STANDING: &str = "  stream: {name: NAME, initialShards: 2}
  replicas: 2
  steps:
    - {name: stand, pause: {for: 1h}}
";

/// What is over must be over for the operator within 10 s; the rest is for a machine that is slow.
const SOON: Duration = Duration::from_secs(30);

async fn standing(endpoints: &Endpoints, server: &ApiServer, name: &str) -> Lab {
    Lab::standing(endpoints, server, name, &STANDING.replace("NAME", name)).await
}

/// Whether the operator does its work: the pods are seen, and what the manifest says is done.
async fn goes_on(lab: &Lab, nonce: u32) -> Duration {
    lab.edit(|object| object["spec"]["run"]["nonce"] = json!(nonce));
    let goes_on = |lab: &Lab| {
        let sound = lab.signs.pulses.flaw().is_none() && lab.condition("Stalled").0 == "False";
        sound && lab.status()["runNonce"] == nonce
    };
    lab.until("sight of the cluster", SOON, goes_on).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_goes_on_by_itself_after_the_api_server_was_away() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let lab = standing(&endpoints, &server, "away").await;
    for (nonce, seconds) in [(1, 1), (2, 12)] {
        server.away(true);
        let unready = |lab: &Lab| lab.signs.pulses.flaw().is_some();
        lab.until("flaw", SOON, unready).await.unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!(lab.signs.watchdog.stalled(Instant::now()), None, "nothing is stuck");
        server.away(false);
        let took = goes_on(&lab, nonce).await;
        println!("away for {seconds} s: went on after {took:?}");
    }
    lab.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn condition_of_a_watch_that_is_refused_ends_with_the_refusal() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let lab = standing(&endpoints, &server, "unseen").await;
    server.deny("watch deployments");
    let told = |lab: &Lab| lab.condition("Stalled") == ("True".to_owned(), "ClusterUnseen".to_owned());
    lab.until("condition", SOON, told).await.unwrap();
    server.allow("watch deployments");
    // Nothing happens in the namespace that the watch could show.
    let cleared = |lab: &Lab| lab.condition("Stalled").0 == "False";
    let took = lab.until("end of the condition", SOON, cleared).await.unwrap();
    println!("allowed again: cleared after {took:?}");
    lab.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn experiment_that_can_do_nothing_writes_twelve_times_a_minute_at_most() {
    let endpoints = endpoints().await;
    let denied = [
        "apply statefulsets",
        "apply configmaps",
        "patch statefulsets/scale",
        "create configmaps",
        "patch kinesisexperiments/status",
    ];
    let mut labs = Vec::new();
    for (number, call) in denied.into_iter().enumerate() {
        let server = ApiServer::default();
        server.deny(call);
        let name = format!("denied-{number}");
        labs.push(Lab::start(&endpoints, &server, &name, &STANDING.replace("NAME", &name)).await);
    }
    // Until the pauses have become as long as they get.
    tokio::time::sleep(Duration::from_secs(15)).await;
    for lab in &labs {
        lab.server.writes();
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (lab, call) in labs.into_iter().zip(denied) {
        let writes = lab.server.writes();
        println!("{call} denied: {} writes in 30 s", writes.len());
        assert!(writes.len() <= 6, "{call}: {writes:?}");
        lab.stop().await;
    }
    endpoints.stop().await;
}
