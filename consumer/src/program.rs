//! The program put together: connect, serve, run the worker, leave.

use std::time::Duration;

use kinex_aws::{Clients, Facts, Fault, Requests, in_time, patiently};
use kinex_kcl::{Stall, Status, Worker, WorkerEvent, WorkerHandle};
use kinex_telemetry::{Admin, Counts, Health, Metrics};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::meters::{Live, Meters};
use crate::processor::Counting;
use crate::settings::Settings;
use crate::{Args, Error, chaos, report};

/// How a program is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Hand every lease on, then end.
    pub leave: CancellationToken,
    /// End at once; the others find out as after a crash.
    pub quit: CancellationToken,
}

/// What readiness waits for.
const TABLES: &str = "lease table and workers' table";
const STREAM: &str = "stream";
const GROUP: &str = "first look at the other workers";

/// The part of the grace period that is left for the last audit rows; at most an eighth of it.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// What the count of requests holds.
const REQUESTS: &str = "Requests to AWS, retries included";

pub(crate) async fn run(args: Args, stop: Stop) -> Result<(), Error> {
    let settings = Settings::load(&args)?;
    let identity = Identity::of(&args)?;
    let clients = Clients::connect(&settings.access).await?;
    let meters = Meters::default();
    let ledger = Ledger::new(clients.facts(&settings.application), meters.clone());
    let factory = Counting::new(
        identity.worker.clone(),
        identity.incarnation.clone(),
        ledger.clone(),
        meters.clone(),
        Duration::from_millis(args.work_millis.unwrap_or(0)),
        args.fail_on.clone(),
    );
    let admin = match &args.metrics_addr {
        Some(address) => Some(
            Admin::bind(address)
                .await
                .map_err(|error| Error::Start(error.to_string()))?,
        ),
        None => None,
    };
    let metrics = admin.as_ref().map(|admin| admin.address().to_string());
    let store = clients.leases(&settings.application);
    let worker = Worker::builder(store.clone(), clients.reader(&settings.stream), factory)
        .worker_id(identity.worker.clone())
        .incarnation(identity.incarnation.clone())
        .started(identity.started.clone())
        .address(identity.address(metrics.as_deref()))
        .config(settings.worker.clone())
        .build()
        .map_err(|error| Error::Settings(error.to_string()))?;
    let handle = worker.handle();
    let health = Health::waiting_for([TABLES, STREAM, GROUP]);
    let (live, ready) = (handle.clone(), handle.clone());
    health.check(
        move || live.status().stalled().map(stalled),
        move || unread(&ready.status()),
    );

    let (background, mut tasks) = (CancellationToken::new(), JoinSet::new());
    if let Some(admin) = admin {
        let live = Live {
            worker: handle.clone(),
            shard_series_max: settings.shard_series_max,
        };
        let metrics = registry(&settings.application, &meters, live, clients.requests().clone());
        tasks.spawn(admin.serve(metrics, health.clone(), background.clone()));
    }
    identity.announce(&args, metrics.as_deref())?;
    info!(worker = %identity.worker, incarnation = %identity.incarnation, stream = settings.stream,
        application = settings.application, metrics, "consumer starts");

    let started = tokio::select! {
        started = prepare(&clients, &settings, &health) => started,
        () = stop.leave.cancelled() => return Ok(()),
    };
    started?;
    let facts = clients.facts(&settings.application);
    tokio::select! {
        registered = identity.register(&facts) => registered?,
        () = stop.leave.cancelled() => return Ok(()),
    }
    tasks.spawn(count(
        handle.subscribe(),
        handle.clone(),
        meters.clone(),
        ledger.clone(),
        health,
        background.clone(),
    ));
    tasks.spawn(report::rate(
        meters,
        handle.clone(),
        settings.report_every,
        background.clone(),
    ));
    tasks.spawn(
        ledger
            .clone()
            .keep(settings.audit_every, settings.checkpoint_every, background.clone()),
    );
    if args.allow_chaos {
        tasks.spawn(chaos::obey(store, identity.clone(), background.clone()));
    }

    let (ended, end_by) = until_stopped(worker, &handle, &settings, &facts, &stop).await;
    background.cancel();
    let joined = async {
        while let Some(joined) = tasks.join_next().await {
            if let Err(error) = joined {
                error!(%error, "background task failed");
            }
        }
    };
    // A task may be waiting for a response that never comes. The last writes need their share of the time.
    let now = Instant::now();
    if tokio::time::timeout_at(now + end_by.saturating_duration_since(now) / 2, joined)
        .await
        .is_err()
    {
        tasks.shutdown().await;
    }
    let unwritten = match tokio::time::timeout_at(end_by, ledger.close()).await {
        Ok(unwritten) => unwritten,
        Err(_) => ledger.unwritten(),
    };
    if unwritten > 0 {
        error!(
            rows = unwritten,
            "audit rows could not be written: the audit will show fewer deliveries"
        );
    }
    info!(worker = %identity.worker, ok = ended.is_ok(), "consumer ends");
    ended
}

/// The worker, until it ends by itself or its time to leave is over; and when the process must have ended.
async fn until_stopped<S, R, F>(
    worker: Worker<S, R, F>,
    handle: &WorkerHandle,
    settings: &Settings,
    facts: &Facts,
    stop: &Stop,
) -> (Result<(), Error>, Instant)
where
    S: kinex_kcl::ports::LeaseStore,
    R: kinex_kcl::ports::StreamReader,
    F: kinex_kcl::ProcessorFactory,
{
    let running = worker.run();
    tokio::pin!(running);
    let deadline;
    let ended = tokio::select! {
        ended = &mut running => return (finished(ended), Instant::now() + settings.grace),
        () = stop.quit.cancelled() => return (Ok(()), Instant::now() + LAST_WRITES),
        () = stop.leave.cancelled() => {
            deadline = Instant::now() + settings.grace;
            let leaving = async {
                let departure = settings.leaving.choose(&handle.status().worker, facts).await;
                handle.shutdown(departure).await;
                (&mut running).await
            };
            tokio::select! {
                ended = tokio::time::timeout_at(deadline - LAST_WRITES.min(settings.grace / 8), leaving) => ended,
                () = stop.quit.cancelled() => return (Ok(()), Instant::now() + LAST_WRITES),
            }
        }
    };
    let ended = match ended {
        Ok(ended) => finished(ended),
        Err(_) => {
            let left = handle.status().holds.len();
            error!(leases = left, grace = ?settings.grace, "still leaving at the end of the grace period: exiting anyway");
            Ok(())
        }
    };
    (ended, deadline)
}

fn finished(ended: Result<kinex_kcl::Ended, kinex_kcl::Error>) -> Result<(), Error> {
    let ended = ended?;
    if !ended.hung.is_empty() {
        warn!(shards = ?ended.hung, "processors hung: their leases went without a final checkpoint");
    }
    Ok(())
}

/// What stands still, for whoever reads the probe's answer.
fn stalled(stall: Stall) -> String {
    match stall {
        Stall::LeaseThread(since) => format!("the thread that keeps the leases, for {} s", since.as_secs()),
        Stall::Readers => "the readers of all shards".to_owned(),
    }
}

/// What readiness lacks when no shard of this worker can be read.
fn unread(status: &Status) -> Option<String> {
    let shards = status.holds.len();
    (shards > 0 && status.unreadable() == shards).then(|| {
        let since = status.since_read().as_secs();
        format!("a good read of any of its {shards} shards (the last one was {since} s ago)")
    })
}

/// Everything that is measured.
fn registry(application: &str, meters: &Meters, live: Live, requests: Requests) -> Metrics {
    let worker = live.worker.status().worker.to_string();
    let whose = [("application", application.to_owned()), ("worker", worker)];
    let mut metrics = Metrics::labelled("consumer", env!("CARGO_PKG_VERSION"), whose);
    meters.register(metrics.registry());
    metrics.registry().register_collector(Box::new(live));
    let requests = Counts::new("aws_requests", REQUESTS, ["api", "outcome"], move || {
        requests.labelled()
    });
    metrics.registry().register_collector(Box::new(requests));
    metrics
}

/// The tables and the stream are there and do not belong to others, or one clear error: checkpoints of another stream of the
/// same name would point anywhere. The worker ties them to each other, once it knows whose leases a table holds.
async fn prepare(clients: &Clients, settings: &Settings, health: &Health) -> Result<(), Error> {
    let tables = clients.tables(&settings.application);
    let wait = settings.wait_for_stream;
    there(wait, || async {
        if settings.create_tables {
            Box::pin(tables.ensure()).await
        } else {
            tables.check().await
        }
    })
    .await?;
    health.have(TABLES);
    let streams = clients.streams();
    let stream = there(wait, || streams.describe(&settings.stream)).await?;
    patiently(|| tables.bound_to(&stream.identity)).await?;
    health.have(STREAM);
    Ok(())
}

/// Waits for what somebody else is about to make, or reports it missing.
async fn there<T, F, Fut>(wait: bool, ask: F) -> Result<T, Fault>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Fault>>,
{
    if wait { in_time(ask).await } else { patiently(ask).await }
}

/// Counts what the worker says, and notes when it has seen the others.
async fn count(
    mut events: Receiver<WorkerEvent>,
    worker: WorkerHandle,
    meters: Meters,
    ledger: Ledger<Facts>,
    health: Health,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.cancelled() => break,
        };
        match event {
            Ok(event) => {
                meters.event(&event);
                audit(&ledger, &event);
                if matches!(event, WorkerEvent::Membership { .. }) && !worker.status().workers.is_empty() {
                    health.have(GROUP);
                }
            }
            Err(RecvError::Lagged(missed)) => meters.missed(missed),
            Err(RecvError::Closed) => break,
        }
    }
    // What was said before the end counts too.
    while let Ok(event) = events.try_recv() {
        meters.event(&event);
        audit(&ledger, &event);
    }
}

/// What no processor sees has its place in the audit all the same.
fn audit(ledger: &Ledger<Facts>, event: &WorkerEvent) {
    if let WorkerEvent::RecordsDropped {
        shard, reason, records, ..
    } = event
    {
        ledger.dropped(shard, *reason, *records);
    }
}
