//! The loop: which experiment is looked at when, and what they share. Client required.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use kinex_api::KinesisExperiment;
use kinex_aws::{Clients, Fault};
use kinex_core::experiment::Timestamp;
use kinex_telemetry::Health;
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::active_run::CachedState;
use crate::leader::Tenure;
use crate::limits;
use crate::link::Pauses;
use crate::metrics::{Failure, Meters, Reconcile};
use crate::reconcile::{self, Error};
use crate::settings::{Place, Settings};
use crate::watch::{self, Guarded, Signs, Stores};

/// One look at an experiment, with everything that is done about it, may take this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks at the same time; each waits for its own endpoint, so that a slow one holds up nobody else.
const LOOKS_MAX: u16 = 64;
/// An experiment is looked at no more often than this, however many events come.
const EARLIEST: Duration = Duration::from_millis(200);
/// From a look that failed to the next, at first; each failure doubles it.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// At most: an outage that is over is noticed soon.
const AFTER_FAILURE_MAX: Duration = Duration::from_secs(5);
/// The loop goes round at least this often, also when there is no experiment.
const TURN: Duration = Duration::from_secs(10);
/// From one look at an object that makes no sense to the next.
const REQUEUE_INVALID: Duration = Duration::from_secs(300);
/// How long the watches of pods may take to begin before experiments are told that they do not work.
const BEGIN: Duration = Duration::from_secs(15);
/// What readiness waits for.
pub(crate) const EXPERIMENTS: &str = "watch of kinesisexperiments";

/// What is kept of each experiment, by its uid: how it is called, and what was seen.
type CachedStates = BTreeMap<String, (String, Arc<tokio::sync::Mutex<CachedState>>)>;

/// What the looks at all experiments of a namespace share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) stores: Stores,
    pub(crate) experiments: Store<Guarded>,
    pub(crate) recorder: Recorder,
    pub(crate) meters: Meters,
    /// While it holds, there may be effects.
    pub(crate) tenure: Tenure,
    /// Whether more than one namespace is looked after.
    pub(crate) wide: bool,
    cached_states: Mutex<CachedStates>,
    running: Mutex<BTreeSet<(String, String)>>,
    clients: tokio::sync::Mutex<BTreeMap<String, Clients>>,
}

impl Context {
    /// How an experiment is called in metrics.
    pub(crate) fn title(&self, experiment: &impl Resource) -> String {
        let name = experiment.meta().name.clone().unwrap_or_default();
        match &experiment.meta().namespace {
            Some(namespace) if self.wide => format!("{namespace}/{name}"),
            _ => name,
        }
    }

    /// The clients of an endpoint, with their own connections and their own budget of retries.
    pub(crate) async fn clients(&self, place: &Place) -> Result<Clients, Fault> {
        let key = label(place);
        let mut all = self.clients.lock().await;
        if let Some(clients) = all.get(&key) {
            return Ok(clients.clone());
        }
        let clients = Clients::connect(&self.settings.access(place)).await?;
        self.meters.count_requests(clients.requests());
        let tenure = self.tenure.clone();
        clients.requests().write_only_while(move || tenure.holds());
        all.insert(key, clients.clone());
        Ok(clients)
    }

    /// How many other experiments of the namespace run, or come before this one.
    pub(crate) fn first(&self, experiment: &KinesisExperiment) -> usize {
        let namespace = experiment.namespace();
        let mut first: BTreeSet<String> = self
            .running()
            .iter()
            .filter(|(ns, _)| Some(ns) == namespace.as_ref())
            .map(|(_, uid)| uid.clone())
            .collect();
        for object in self.experiments.state() {
            let DeserializeGuard(Ok(other)) = object.as_ref() else {
                continue;
            };
            if other.namespace() == namespace && limits::comes_first(other, experiment) {
                first.extend(other.uid());
            }
        }
        if let Some(uid) = experiment.uid() {
            first.remove(&uid);
        }
        first.len()
    }

    /// Notes whether an experiment is running, before the watch shows it.
    pub(crate) fn note_running(&self, namespace: &str, uid: &str, runs: bool) {
        let key = (namespace.to_owned(), uid.to_owned());
        if runs {
            self.running().insert(key);
        } else {
            self.running().remove(&key);
        }
    }

    /// Forgets what is kept of experiments that are gone.
    pub(crate) fn forget_gone(&self) {
        let there: BTreeSet<String> = self
            .experiments
            .state()
            .iter()
            .filter_map(|object| object.uid())
            .collect();
        self.running().retain(|(_, uid)| there.contains(uid));
        self.cached_states().retain(|uid, (title, cached)| {
            let stays = there.contains(uid);
            if !stays {
                self.meters.forget(title);
                if let Ok(mut cached) = cached.try_lock()
                    && let Some(active_run) = &mut cached.active_run
                {
                    active_run.actor.stop();
                }
            }
            stays
        });
    }

    /// Waits for the effects under way, and writes down what was seen.
    pub(crate) async fn finish(&self) {
        let cached_states: Vec<_> = self
            .cached_states()
            .iter()
            .map(|(uid, (_, cached))| (uid.clone(), Arc::clone(cached)))
            .collect();
        for (uid, cached) in cached_states {
            let mut cached = cached.lock().await;
            let Some(active_run) = &mut cached.active_run else {
                continue;
            };
            active_run.actor.finish().await;
            let created = active_run.actor.ledger().created();
            let Some(experiment) = cached.latest.take().or_else(|| self.experiment(&uid)) else {
                continue;
            };
            if let Err(error) = reconcile::note_created(self, &experiment, &created).await {
                warn!(experiment = self.title(experiment.as_ref()), %error, "what was created is not noted, and stays");
            }
        }
    }

    fn experiment(&self, uid: &str) -> Option<Arc<KinesisExperiment>> {
        let mut all = self.experiments.state().into_iter();
        let found = all.find(|object| object.uid().as_deref() == Some(uid))?;
        found.0.as_ref().ok().map(|experiment| Arc::new(experiment.clone()))
    }

    fn cached(&self, experiment: &KinesisExperiment) -> Arc<tokio::sync::Mutex<CachedState>> {
        let mut cached_states = self.cached_states();
        let entry = cached_states.entry(experiment.uid().unwrap_or_default());
        let (_, cached) = entry.or_insert_with(|| (self.title(experiment), Arc::default()));
        Arc::clone(cached)
    }

    fn cached_states(&self) -> std::sync::MutexGuard<'_, CachedStates> {
        self.cached_states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint, for people and as a key.
pub(crate) fn label(place: &Place) -> String {
    match place {
        Place::Aws => "aws".to_owned(),
        Place::Custom(endpoint) => endpoint.to_string(),
    }
}

/// What every namespace's loop gets.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) settings: Arc<Settings>,
    pub(crate) recorder: Recorder,
    pub(crate) meters: Meters,
    pub(crate) health: Health,
    pub(crate) tenure: Tenure,
    pub(crate) signs: Signs,
    pub(crate) wide: bool,
}

/// Looks after the experiments of a namespace, or of all, until cancelled; what is under way then is finished.
pub(crate) async fn run(
    shared: Shared,
    namespace: Option<String>,
    stores: Stores,
    pokes: mpsc::Receiver<ObjectRef<Guarded>>,
    stop: CancellationToken,
) {
    let Shared {
        client,
        settings,
        recorder,
        meters,
        health,
        tenure,
        signs,
        wide,
    } = shared;
    let pulse = signs.pulse("watch of kinesisexperiments", namespace.as_deref());
    let api: Api<Guarded> = match &namespace {
        Some(namespace) => Api::namespaced(pulse.client(&client), namespace),
        None => Api::all(pulse.client(&client)),
    };
    stop.run_until_cancelled(stores.begun(BEGIN)).await;
    // No object has this name: looking for it shows that the loop goes round.
    let turns = futures::stream::unfold((), |()| async {
        tokio::time::sleep(TURN).await;
        Some((ObjectRef::new("-"), ()))
    });
    let controller = Controller::new(api, watch::config())
        .with_config(Config::default().concurrency(LOOKS_MAX))
        .trigger_backoff(Pauses::default())
        .reconcile_on(futures::stream::select(pokes, Box::pin(turns)))
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    let context = Arc::new(Context {
        client,
        settings,
        stores,
        experiments: controller.store(),
        recorder,
        meters,
        tenure,
        wide,
        cached_states: Mutex::default(),
        running: Mutex::default(),
        clients: tokio::sync::Mutex::default(),
    });
    let store = controller.store();
    let listed = async {
        if store.wait_until_ready().await.is_ok() {
            health.have(EXPERIMENTS);
        }
        futures::future::pending::<()>().await;
    };
    let mut part = None;
    let looks = controller
        .run(reconcile, after_failure, Arc::clone(&context))
        .for_each(|look| {
            // It waits for the first listing, which may never come while the API server is away.
            part.get_or_insert_with(|| signs.watchdog.part("the loop of looks at experiments"))
                .turns();
            match look {
                Ok(_) => {}
                // Said where it happened.
                Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                Err(kube::runtime::controller::Error::ObjectNotFound(gone)) => debug!(%gone, "gone"),
                Err(error) => {
                    warn!(%error, "experiments cannot be watched; it is tried again");
                    pulse.failed(&error);
                }
            }
            context.forget_gone();
            futures::future::ready(())
        });
    tokio::select! {
        () = looks => {}
        () = listed => {}
    }
    context.finish().await;
}

async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let experiment = match &object.0 {
        Ok(experiment) => Arc::new(experiment.clone()),
        Err(invalid) => {
            invalid_object(&object, &invalid.error, &context).await;
            return Ok(Action::requeue(REQUEUE_INVALID));
        }
    };
    if experiment.spec.operator_class != context.settings.class {
        return Ok(Action::await_change());
    }
    let cached = context.cached(&experiment);
    let mut cached = cached.lock().await;
    let version = experiment.resource_version();
    if let Some(early) = cached.too_early(version.as_deref()) {
        return Ok(Action::requeue(early));
    }
    if let Some(early) = cached.looked.and_then(|last| EARLIEST.checked_sub(last.elapsed())) {
        return Ok(Action::requeue(early));
    }
    let begun = Instant::now();
    cached.looked = Some(begun);
    let looking = Box::pin(reconcile::reconcile_experiment(&context, &mut cached, experiment));
    let looked = match tokio::time::timeout(PATIENCE, looking).await {
        Ok(looked) => looked,
        Err(_) => Err(Error::Late(PATIENCE)),
    };
    let outcome = looked.as_ref().map_or(Reconcile::Failed, |next| next.outcome);
    context.meters.reconciled(outcome, begun.elapsed());
    let clean = looked.as_ref().is_ok_and(|next| !next.status_conflict);
    let pause = cached.ended(version, clean, AFTER_FAILURE, AFTER_FAILURE_MAX);
    Ok(Action::requeue(looked?.after.max(pause)))
}

fn after_failure(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    warn!(experiment = context.title(object.as_ref()), %error, "reconcile failed, retrying");
    context.meters.failed(match error {
        Error::Late(_) => Failure::Timeout,
        Error::Status(_) => Failure::Status,
        Error::Api { .. } => Failure::Apply,
    });
    Action::requeue(AFTER_FAILURE)
}

/// An object that the API server took and that makes no sense here, of an older or newer definition.
async fn invalid_object(object: &Guarded, why: &str, context: &Context) {
    warn!(experiment = context.title(object), why, "cannot parse the experiment");
    context.meters.reconciled(Reconcile::Refused, Duration::ZERO);
    let event = Event {
        type_: EventType::Warning,
        reason: "Unreadable".to_owned(),
        note: Some(format!(
            "the experiment cannot be read: {why}; update the definition and the operator together"
        )),
        action: "reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &object.object_ref(&())).await {
        debug!(%error, "an event could not be told");
    }
}

/// The wall clock: it measures steps and nothing else.
pub(crate) fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
