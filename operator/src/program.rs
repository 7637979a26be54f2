//! The program put together: connect, serve, stand for election, look after the experiments, leave. Client required.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join_all, pending};
use kinex_api::KinesisExperiment;
use kinex_telemetry::{Admin, Health, Metrics};
use kube::api::ListParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Config};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::args::Args;
use crate::controller::{self, EXPERIMENTS, Shared};
use crate::error::Error;
use crate::leader::{Candidate, Tenure, Timing, gated};
use crate::link;
use crate::metrics::Meters;
use crate::settings::{Scope, Settings};
use crate::watch::{self, Signs};

/// What readiness waits for.
const DEFINITION: &str = "the definition of KinesisExperiment (apply deploy/crd, or install the chart)";
const PERMISSION: &str = "the permission to list kinesisexperiments";
const API_SERVER: &str = "the API server";
/// How long a try to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// From one look for the definition to the next.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long effects that are under way may take at the end; the grace period of the pod is longer.
const FINISH: Duration = Duration::from_secs(20);

/// Runs until `stop` is cancelled, or the Lease is lost.
pub(crate) async fn run(args: Args, stop: CancellationToken) -> Result<(), Error> {
    let settings = Settings::resolve(args, |name| std::env::var(name).ok());
    let settings = Arc::new(settings.map_err(|error| Error::Settings(error.to_string()))?);
    let tenure = settings.lease.as_ref().map_or_else(Tenure::always, |_| Tenure::none());
    let (client, elector) = clients(&tenure)
        .await
        .map_err(|error| Error::Start(format!("no way to the API server: {error}; see KUBECONFIG")))?;
    let identity = std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("kinex-operator-{}", uuid::Uuid::new_v4()));
    let meters = Meters::default();
    let health = Health::waiting_for([API_SERVER, EXPERIMENTS]);
    let signs = Signs::default();
    let Signs { pulses, watchdog } = signs.clone();
    health.check(move || watchdog.stalled(Instant::now()), move || pulses.flaw());
    let (background, mut tasks) = (CancellationToken::new(), JoinSet::new());
    serve(&settings, &meters, &health, &background, &mut tasks).await?;
    info!(
        identity,
        version = env!("CARGO_PKG_VERSION"),
        lease = settings.lease,
        "operator starts"
    );

    let ended = {
        let shared = Shared {
            recorder: Recorder::new(
                client.clone(),
                Reporter {
                    controller: "kinex-operator".to_owned(),
                    instance: Some(identity.clone()),
                },
            ),
            client,
            settings,
            meters,
            health,
            tenure,
            signs,
            wide: false,
        };
        lead(shared, elector, &identity, &stop, &background, &mut tasks).await
    };
    background.cancel();
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined {
            error!(%error, "background task failed");
        }
    }
    info!(ok = ended.is_ok(), "operator ends");
    ended
}

/// The client for everything, whose writes end with the tenure, and the one for the Lease. Tries to connect end while the
/// API server may still come back, and so do requests.
async fn clients(tenure: &Tenure) -> Result<(Client, Client), kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.connect_timeout = Some(CONNECT);
    // Connections of its own for the Lease: nothing else must keep it from being renewed.
    let elector = Client::try_from(config.clone())?;
    let gated = gated(&Client::try_from(config)?, tenure);
    Ok((link::bounded(&gated, link::ANSWER), elector))
}

/// Metrics and probes.
async fn serve(
    settings: &Settings,
    meters: &Meters,
    health: &Health,
    background: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), Error> {
    let admin = Admin::bind(&settings.metrics_addr.to_string())
        .await
        .map_err(|error| Error::Start(error.to_string()))?;
    let mut metrics = Metrics::new("operator", env!("CARGO_PKG_VERSION"));
    meters.register(metrics.registry());
    tasks.spawn(admin.serve(metrics, health.clone(), background.clone()));
    Ok(())
}

/// Works while leading.
async fn lead(
    shared: Shared,
    elector: Client,
    identity: &str,
    stop: &CancellationToken,
    background: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), Error> {
    // A standby is ready as well: it waits for nothing but its turn.
    if !reachable(&shared, stop).await {
        return Ok(());
    }
    let Some(lease) = shared.settings.lease.clone() else {
        shared.meters.leading(true);
        return look_after(shared, stop, background, tasks, pending()).await;
    };
    let namespace = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or_else(|| shared.client.default_namespace().to_owned());
    let mut candidate = Candidate::stand(
        elector,
        &namespace,
        &lease,
        identity,
        shared.tenure.clone(),
        Timing::default(),
    );
    shared.health.have(EXPERIMENTS);
    let elected = stop.run_until_cancelled(candidate.elected()).await;
    let ended = match elected {
        None => Ok(()),
        Some(()) => {
            info!(identity, "leads");
            shared.meters.leading(true);
            let meters = shared.meters.clone();
            let ended = look_after(shared, stop, background, tasks, candidate.lost()).await;
            meters.leading(false);
            ended
        }
    };
    candidate.resign().await;
    ended
}

/// Waits until the definition is there and may be read; false when told to stop before that.
async fn reachable(shared: &Shared, stop: &CancellationToken) -> bool {
    let api: Api<KinesisExperiment> = match namespaces(shared).first() {
        Some(Some(namespace)) => Api::namespaced(shared.client.clone(), namespace),
        _ => Api::all(shared.client.clone()),
    };
    let mut said = String::new();
    loop {
        let lacks = match api.list(&ListParams::default().limit(1)).await {
            Ok(_) => None,
            Err(kube::Error::Api(answer)) if answer.code == 404 => Some((DEFINITION, answer.message)),
            Err(kube::Error::Api(answer)) if matches!(answer.code, 401 | 403) => Some((PERMISSION, answer.message)),
            // An experiment that makes no sense is there all the same.
            Err(kube::Error::SerdeError(_)) => None,
            Err(error) => Some((API_SERVER, error.to_string())),
        };
        for thing in [DEFINITION, PERMISSION, API_SERVER] {
            shared.health.have(thing);
        }
        let Some((thing, why)) = lacks else { return true };
        shared.health.lack(thing);
        if said != why {
            warn!(why, "waiting for {thing}");
            said = why;
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return false;
        }
    }
}

/// Looks after every namespace until told to stop, or until `lost` returns.
async fn look_after(
    shared: Shared,
    stop: &CancellationToken,
    background: &CancellationToken,
    tasks: &mut JoinSet<()>,
    lost: impl Future<Output = ()>,
) -> Result<(), Error> {
    let namespaces = namespaces(&shared);
    let tenure = shared.tenure.clone();
    let shared = Shared {
        wide: namespaces.len() > 1 || namespaces.first().is_some_and(Option::is_none),
        ..shared
    };
    let quiet = CancellationToken::new();
    let loops = namespaces.into_iter().map(|namespace| {
        let (stores, pokes) = watch::start(&shared.client, namespace.as_deref(), &shared.signs, background, tasks);
        controller::run(shared.clone(), namespace, stores, pokes, quiet.clone())
    });
    let loops: Vec<_> = loops.collect();
    let mut working = Box::pin(join_all(loops));
    let ended = tokio::select! {
        _ = &mut working => return Err(Error::Failed("the watch of the experiments ended by itself".to_owned())),
        () = lost => Err(Error::Failed("this operator leads no more: its Lease could not be renewed, or is another's".to_owned())),
        () = stop.cancelled() => Ok(()),
        joined = tasks.join_next(), if !tasks.is_empty() => {
            let why = joined.and_then(Result::err).map_or_else(|| "by itself".to_owned(), |error| error.to_string());
            Err(Error::Failed(format!("a background task ended: {why}")))
        }
    };
    quiet.cancel();
    if !tenure.holds() {
        // Nothing that is under way could have an effect any more.
        return ended;
    }
    info!("leaving: what is under way is finished");
    if tokio::time::timeout(FINISH, working).await.is_err() {
        warn!("still at work after {FINISH:?}: what was sent may still happen, and is seen at the next start");
    }
    ended
}

/// The namespaces; `None` is all of them.
fn namespaces(shared: &Shared) -> Vec<Option<String>> {
    match &shared.settings.scope {
        Scope::All => vec![None],
        Scope::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        Scope::Own => vec![Some(shared.client.default_namespace().to_owned())],
    }
}
