//! The program put together: check, connect, serve, send, account.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use kinex_aws::{Access, Clients, Requests, in_time, patiently};
use kinex_core::audit::ProducerRow;
use kinex_telemetry::{Admin, Counts, Health, Metrics};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::batch::Limits;
use crate::meters::Meters;
use crate::send::{Sending, Sheet, lane_key};
use crate::{Args, Error, checked_rate, rows};

/// What readiness waits for.
const STREAM: &str = "stream";

/// What the count of requests holds.
const REQUESTS: &str = "Requests to AWS, retries included";

/// How often the rate is printed.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The most lanes: their numbers must fit into one row.
const LANES_MAX: u32 = 4_096;

pub(crate) async fn run(args: Args, stop: CancellationToken) -> Result<(), Error> {
    let plan = Plan::of(&args)?;
    let access = Access {
        endpoint: args.endpoint_url.clone(),
        kinesis_endpoint: args.kinesis_endpoint_url.clone(),
        dynamodb_endpoint: args.dynamodb_endpoint_url.clone(),
        region: args.region.clone(),
        send_credentials: args.sign,
        ..Access::default()
    };
    let clients = Clients::connect(&access).await?;
    let meters = Meters::default();
    let health = Health::waiting_for([STREAM]);
    let (background, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let metrics = match &args.metrics_addr {
        Some(address) => {
            let admin = Admin::bind(address).await;
            let admin = admin.map_err(|error| Error::Start(error.to_string()))?;
            let address = admin.address().to_string();
            let metrics = registry(&args, &meters, clients.requests().clone());
            tasks.spawn(admin.serve(metrics, health.clone(), background.clone()));
            Some(address)
        }
        None => None,
    };
    if let Some(path) = &args.identity_file {
        announce(path, &plan.source, metrics.as_deref())?;
    }
    info!(source = plan.source, stream = args.stream, metrics, "producer starts");

    let prepared = tokio::select! {
        prepared = prepare(&clients, &args, &plan) => prepared,
        () = stop.cancelled() => return Ok(()),
    };
    prepared?;
    health.have(STREAM);
    let sheet = Sheet::new(ProducerRow::starting(plan.source.clone(), rows::now_ms()));
    let (rate, rates) = watch::channel(plan.rate);
    tasks.spawn(report(meters.clone(), rates.clone(), background.clone()));
    let mut account = JoinSet::new();
    let sent = CancellationToken::new();
    if let Some(application) = &args.application {
        let facts = clients.facts(application);
        account.spawn(rows::write(facts.clone(), sheet.clone(), sent.clone()));
        tasks.spawn(rows::obey(facts, rate, background.clone()));
    } else {
        warn!("no --application: nobody can judge what became of the records, and nobody can change the rate");
    }

    let sending = Sending {
        stream: clients.sender(&args.stream),
        source: plan.source.clone(),
        lanes: args.lanes,
        record_bytes: plan.record_bytes,
        most: plan.most,
        records: args.records.unwrap_or(u64::MAX),
        rate: rates,
        sheet: sheet.clone(),
        meters,
    };
    let outcome = sending.run(stop).await;
    // The last row is written when no number can change any more.
    sent.cancel();
    background.cancel();
    for set in [&mut account, &mut tasks] {
        while let Some(joined) = set.join_next().await {
            if let Err(error) = joined {
                error!(%error, "background task failed");
            }
        }
    }
    info!(
        source = plan.source,
        records = sheet.row().acknowledged(),
        "producer ends"
    );
    outcome
}

/// The checked arguments, and what follows from them.
struct Plan {
    source: String,
    rate: f64,
    record_bytes: usize,
    most: usize,
}

impl Plan {
    fn of(args: &Args) -> Result<Self, Error> {
        let rate = checked_rate(args.records_per_second)
            .map_err(|error| Error::Settings(format!("--records-per-second: {error}")))?;
        if !(1..=LANES_MAX).contains(&args.lanes) {
            return Err(Error::Settings(format!(
                "--lanes must be 1 to {LANES_MAX}, not {}",
                args.lanes
            )));
        }
        let incarnation = uuid::Uuid::new_v4().simple().to_string();
        let run = args.run.clone().unwrap_or_else(|| incarnation[..8].to_owned());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if run.is_empty() || run.len() > 100 || !run.chars().all(plain) {
            return Err(Error::Settings(format!(
                "--run `{}`: expected 1 to 100 letters, digits, `-`, `_` or `.`",
                run.escape_debug()
            )));
        }
        let limits = Limits::default();
        let key = lane_key(args.lanes).len();
        if args.record_bytes > limits.record_bytes {
            return Err(Error::Settings(format!(
                "--record-bytes must be at most {}, not {}",
                limits.record_bytes, args.record_bytes
            )));
        }
        // The limit counts the partition key as well.
        let record_bytes = args.record_bytes.min(limits.record_bytes - key);
        let most = limits.fit(record_bytes + key).expect("made to fit");
        Ok(Self {
            source: format!("{run}/{}", &incarnation[..8]),
            rate,
            record_bytes,
            most,
        })
    }
}

/// The stream and the application's tables are there, and the first row is written.
async fn prepare(clients: &Clients, args: &Args, plan: &Plan) -> Result<(), Error> {
    let streams = clients.streams();
    let described = || async { streams.describe(&args.stream).await.map(drop) };
    if args.wait_for_stream {
        in_time(described).await?;
    } else {
        patiently(described).await?;
    }
    if let Some(application) = &args.application {
        let tables = clients.tables(application);
        if args.wait_for_stream {
            // Whoever makes the stream makes the tables, and this process needs no right to.
            in_time(|| tables.check()).await?;
        } else {
            patiently(|| Box::pin(tables.ensure())).await?;
        }
        let facts = clients.facts(application);
        let row = ProducerRow::starting(plan.source.clone(), rows::now_ms());
        let body = serde_json::to_string(&row).expect("a row is JSON");
        patiently(|| facts.put(rows::PRODUCER, &row.source, &body)).await?;
    }
    Ok(())
}

/// Everything that is measured.
fn registry(args: &Args, meters: &Meters, requests: Requests) -> Metrics {
    let whose = args.application.clone().map(|application| ("application", application));
    let mut metrics = Metrics::labelled("producer", env!("CARGO_PKG_VERSION"), whose);
    meters.register(metrics.registry());
    let requests = Counts::new("aws_requests", REQUESTS, ["api", "outcome"], move || {
        requests.labelled()
    });
    metrics.registry().register_collector(Box::new(requests));
    metrics
}

/// One JSON line for a runner; whoever polls for the file sees all of it or none.
fn announce(path: &Path, source: &str, metrics: Option<&str>) -> Result<(), Error> {
    let refused = |error: std::io::Error| Error::Start(format!("cannot write {}: {error}", path.display()));
    let line = serde_json::json!({ "source": source, "pid": std::process::id(), "metrics": metrics });
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, format!("{line}\n")).map_err(refused)?;
    std::fs::rename(&new, path).map_err(refused)
}

/// Prints `Sent: X rec/s` on stdout until cancelled.
async fn report(meters: Meters, rates: watch::Receiver<f64>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    meters.wanted(*rates.borrow());
    tick.tick().await;
    let (mut before, mut at) = (meters.produced(), Instant::now());
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let (sent, now) = (meters.produced(), Instant::now());
        let rate = (sent - before) as f64 / now.duration_since(at).as_secs_f64();
        let wanted = *rates.borrow();
        meters.wanted(wanted);
        // Nobody reads it any more: no reason to stop.
        let _ = writeln!(
            std::io::stdout(),
            "Sent: {rate:.1} rec/s  wanted: {wanted}  total: {sent}"
        );
        (before, at) = (sent, now);
    }
}
