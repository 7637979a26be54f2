//! Who decides, when several operators are there. Client required.
//!
//! The Lease is renewed by a task of its own. When that does not succeed in time, the [`Tenure`] ends before anybody else
//! may lead: from then on nothing that has an effect leaves this process, whatever is still under way in it.

mod election;
mod tenure;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::election::Timing;
use self::election::{Election, Record, Step};
pub(crate) use self::tenure::{Tenure, gated};

/// How long giving the Lease back may take at the end.
const RELEASE: Duration = Duration::from_secs(3);
const MANAGER: &str = "kinex/leader";

/// A place in the queue for the Lease.
pub(crate) struct Candidate {
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    /// Stands for election under this name, for the Lease of that name and namespace. The client must not be behind the
    /// gate of the tenure ([`gated`]).
    pub(crate) fn stand(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: &str,
        tenure: Tenure,
        timing: Timing,
    ) -> Self {
        let (tell, leads) = watch::channel(false);
        let stop = CancellationToken::new();
        let contest = Contest {
            api: Api::namespaced(client, namespace),
            lease: lease.to_owned(),
            identity: identity.to_owned(),
            timing,
            election: Election::new(identity, timing),
            tenure,
            held: None,
            other: None,
            said: String::new(),
        };
        let task = tokio::spawn(contest.run(tell, stop.clone()));
        Self { leads, stop, task }
    }

    /// Returns when this operator leads.
    pub(crate) async fn elected(&mut self) {
        // The sender lives as long as the task, which ends after a tenure or when it is told to.
        let _ = self.leads.wait_for(|leads| *leads).await;
    }

    /// Returns when this operator leads no more.
    pub(crate) async fn lost(&mut self) {
        let _ = self.leads.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that the next one need not wait for it to run out.
    pub(crate) async fn resign(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            warn!(%error, "leader election failed");
        }
    }
}

/// The task behind a candidate.
struct Contest {
    api: Api<Lease>,
    lease: String,
    identity: String,
    timing: Timing,
    election: Election,
    tenure: Tenure,
    /// The end of the tenure, while this process leads.
    held: Option<Instant>,
    /// The last holder that was told.
    other: Option<String>,
    /// The last failure that was told.
    said: String,
}

impl Contest {
    async fn run(mut self, tell: watch::Sender<bool>, stop: CancellationToken) {
        loop {
            let (sent, written) = (Instant::now(), self.attempt(&stop).await);
            match written {
                Some(true) => {
                    let until = sent + self.timing.sure;
                    self.held = Some(until);
                    self.tenure.renew(until);
                    tell.send_if_modified(|leads| !std::mem::replace(leads, true));
                }
                // Somebody else holds it: whatever this process believed is over.
                Some(false) if self.held.is_some() => break,
                Some(false) | None => {}
            }
            let pause = if written == Some(true) {
                self.timing.renew_every
            } else {
                self.timing.retry_every
            };
            // Processes that began together do not ask together for ever.
            let spread = pause.mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 2_560.0);
            let next = sent + pause + spread;
            let over = self.held.unwrap_or(next + pause);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(next.min(over)) => {}
            }
            if self.held.is_some_and(|until| Instant::now() >= until) {
                warn!("the Lease could not be renewed in time: this operator stops acting");
                break;
            }
        }
        self.tenure.end();
        let _ = tell.send(false);
        if self.held.is_some_and(|until| Instant::now() < until) && stop.is_cancelled() {
            match timeout(RELEASE, self.give_back()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "the Lease could not be given back"),
                Err(_) => warn!("the Lease could not be given back in time"),
            }
        }
    }

    /// Reads the Lease and writes it where that is due. `Some(true)`: it is this process's; `Some(false)`: somebody else's;
    /// `None`: not known.
    async fn attempt(&mut self, stop: &CancellationToken) -> Option<bool> {
        let within = self.held.map_or(self.timing.request, |until| {
            self.timing.request.min(until.saturating_duration_since(Instant::now()))
        });
        let attempt = stop.run_until_cancelled(timeout(within, self.try_once()));
        match attempt.await? {
            Ok(Ok(ours)) => {
                self.said.clear();
                ours
            }
            Ok(Err(error)) => {
                self.warn(format!(
                    "{error}; the operator needs the Lease (part of the chart) and the right to patch it"
                ));
                None
            }
            Err(_) => {
                self.warn("the API server does not answer".to_owned());
                None
            }
        }
    }

    /// Says why there is no election, once for each reason.
    fn warn(&mut self, why: String) {
        if self.said != why {
            warn!(lease = self.lease, why, "the Lease was neither read nor written");
            self.said = why;
        }
    }

    async fn try_once(&mut self) -> kube::Result<Option<bool>> {
        let lease = self.api.get_opt(&self.lease).await?;
        let record = lease.as_ref().map(record);
        let step = self.election.step(Instant::now(), record.as_ref());
        let written = match (step, record) {
            (Step::Wait, Some(record)) => {
                if self.other != record.holder {
                    info!(holder = record.holder, lease = self.lease, "another operator leads");
                    self.other = record.holder;
                }
                return Ok(Some(false));
            }
            (Step::Renew | Step::Take, Some(record)) => {
                let take = step == Step::Take;
                let patch = Patch::Merge(self.body(&record, take));
                self.api.patch(&self.lease, &parameters(), &patch).await
            }
            (_, _) => {
                let parameters = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let first = Record {
                    holder: None,
                    lasting: self.timing.lasting,
                    transitions: -1,
                    version: String::new(),
                };
                let mut body = self.body(&first, true);
                body["metadata"] = json!({ "name": self.lease });
                let body = serde_json::from_value(body).map_err(kube::Error::SerdeError)?;
                self.api.create(&parameters, &body).await
            }
        };
        match written {
            Ok(_) => Ok(Some(true)),
            // Somebody wrote in between; the next read shows who.
            Err(error) if crate::status::conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A write of the Lease by this process.
    fn body(&self, of: &Record, take: bool) -> serde_json::Value {
        let now = json!(MicroTime(jiff::Timestamp::now()));
        let mut spec = json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.timing.lasting.as_secs().max(1),
            "renewTime": now,
        });
        if take {
            spec["acquireTime"] = spec["renewTime"].clone();
            spec["leaseTransitions"] = json!(of.transitions.saturating_add(1));
        }
        json!({ "metadata": { "resourceVersion": of.version }, "spec": spec })
    }

    async fn give_back(&self) -> kube::Result<()> {
        let record = record(&self.api.get(&self.lease).await?);
        if record.holder.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "resourceVersion": record.version }, "spec": { "holderIdentity": null },
        });
        self.api
            .patch(&self.lease, &parameters(), &Patch::Merge(patch))
            .await
            .map(drop)
    }
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        lasting: Duration::from_secs(
            spec.lease_duration_seconds
                .and_then(|seconds| seconds.try_into().ok())
                .unwrap_or(0),
        ),
        transitions: spec.lease_transitions.unwrap_or(-1),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
