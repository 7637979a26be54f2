//! Writing the objects of an experiment, by server-side apply. Needs the client.
//!
//! # Guarantees
//! An object that the cluster has as it is wanted is not written. What others set on it stays; what this operator sets
//! is put back. An object of the same name that this experiment does not control is never touched: an apply carries the
//! uid and the resource version of the object that was read.

use std::fmt::Debug;
use std::marker::PhantomData;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::info;

use crate::build::{Applied, Prepared, Workload};
use crate::ownership;
use crate::permissions;
use crate::status::conflict;

mod drift;

/// Who owns the fields that are written here.
pub const FIELD_MANAGER: &str = "kinex/workload";

/// An experiment's objects as the cluster has them, from a cache or just read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The consumers' settings.
    pub config: Option<ConfigMap>,
    /// The consumers' Service.
    pub service: Option<Service>,
    /// The consumers' disruption budget.
    pub disruption: Option<PodDisruptionBudget>,
    /// The consumers.
    pub consumer: Option<StatefulSet>,
    /// The producer.
    pub producer: Option<Deployment>,
}

/// An object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator's Role lacks a permission.
    #[error(
        "the operator may not {verb} {resource} in namespace {namespace}: grant {verb} on {resource} to its service \
         account (the chart's Role has it)"
    )]
    Denied {
        /// What was tried: `get`, `create`, `patch`.
        verb: &'static str,
        /// On what: `statefulsets.apps`.
        resource: String,
        /// Where.
        namespace: String,
        /// The API server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object of that name is not this experiment's.
    #[error(
        "{resource} {name} exists and is not this experiment's: it {holder}. Nothing was changed. Rename the \
         experiment or set another spec.consumers.statefulSetName; or delete that object if nobody needs it"
    )]
    Taken {
        /// What it is: `statefulsets.apps`.
        resource: String,
        /// Its name.
        name: String,
        /// Who has it, in words that follow "it".
        holder: String,
    },
    /// Somebody wrote, created or deleted the object after it was read: read it again.
    #[error("{resource} {name} was changed by somebody else in between")]
    Conflict {
        /// What it is.
        resource: String,
        /// Its name.
        name: String,
    },
    /// The API server refused or did not answer.
    #[error("cannot {verb} {resource} {name}: {source}")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: String,
        /// Its name.
        name: String,
        /// The API server's words.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// A failed call on an object.
    pub fn of<K: Resource<DynamicType = ()>>(
        verb: &'static str,
        namespace: &str,
        name: &str,
        source: kube::Error,
    ) -> Self {
        let resource = permissions::resource::<K>();
        if conflict(&source) {
            let name = name.to_owned();
            return Self::Conflict { resource, name };
        }
        let denied = matches!(&source, kube::Error::Api(status) if status.code == 403 && !status.message.contains("exceeded quota"));
        let source = Box::new(source);
        if denied {
            let namespace = namespace.to_owned();
            Self::Denied {
                verb,
                resource,
                namespace,
                source,
            }
        } else {
            let name = name.to_owned();
            Self::Refused {
                verb,
                resource,
                name,
                source,
            }
        }
    }

    /// In one word, for a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "PermissionDenied",
            Self::Taken { .. } => "NameTaken",
            Self::Conflict { .. } => "Conflict",
            Self::Refused { .. } => "ApplyFailed",
        }
    }
}

impl Live {
    /// Reads the objects that a workload is about, for a shell that has no cache of them.
    ///
    /// # Errors
    /// [`Error::Denied`] and [`Error::Refused`] for the first that cannot be read. One that is not there is no error.
    pub async fn read(client: &Client, workload: &Workload<Prepared>) -> Result<Self, Error> {
        let Workload {
            config,
            service,
            disruption,
            consumer,
            producer,
            stage: PhantomData,
        } = workload;
        Ok(Self {
            config: get(client, config).await?,
            service: get(client, service).await?,
            disruption: get(client, disruption).await?,
            consumer: get(client, consumer).await?,
            producer: get(client, producer).await?,
        })
    }

    /// Whether every object that exists is the experiment's.
    ///
    /// # Errors
    /// [`Error::Taken`] for the first that is not.
    pub fn check(&self, wanted: &Workload<Prepared>) -> Result<(), Error> {
        let Self {
            config,
            service,
            disruption,
            consumer,
            producer,
        } = self;
        ours(&wanted.config, config.as_ref())?;
        ours(&wanted.service, service.as_ref())?;
        ours(&wanted.disruption, disruption.as_ref())?;
        ours(&wanted.consumer, consumer.as_ref())?;
        ours(&wanted.producer, producer.as_ref())
    }
}

fn ours<K: Resource<DynamicType = ()>>(wanted: &K, live: Option<&K>) -> Result<(), Error> {
    let Some(holder) = live.and_then(|live| ownership::stranger(wanted, live)) else {
        return Ok(());
    };
    Err(Error::Taken {
        resource: permissions::resource::<K>(),
        name: wanted.name_any(),
        holder,
    })
}

impl Workload<Prepared> {
    /// Writes what the cluster does not have so, and gives everything as the cluster has it then.
    ///
    /// `live` may be old: then the first write is refused with [`Error::Conflict`]. `pinned` leaves an object alone that
    /// was written from other settings or by another version: during a run only what somebody else changed is put back.
    ///
    /// # Errors
    /// [`Error::Taken`] before anything is written when one of the objects is not the experiment's. Otherwise the first
    /// object that cannot be written; those before it are. Running it again goes on from there.
    pub async fn apply(self, client: &Client, live: Live, pinned: bool) -> Result<Workload<Applied>, Error> {
        live.check(&self)?;
        let Self {
            config,
            service,
            disruption,
            consumer,
            producer,
            stage: PhantomData,
        } = self;
        Ok(Workload {
            config: apply(client, config, live.config, pinned).await?,
            service: apply(client, service, live.service, pinned).await?,
            disruption: apply(client, disruption, live.disruption, pinned).await?,
            consumer: apply(client, consumer, live.consumer, pinned).await?,
            producer: apply(client, producer, live.producer, pinned).await?,
            stage: PhantomData,
        })
    }
}

async fn get<K>(client: &Client, wanted: &K) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let read = api.get_opt(&name).await;
    read.map_err(|error| Error::of::<K>("get", &namespace, &name, error))
}

async fn apply<K>(client: &Client, mut wanted: K, live: Option<K>, pinned: bool) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let apply = PatchParams::apply(FIELD_MANAGER);
    let (verb, parameters) = match live {
        Some(live) if drift::as_wanted(&wanted, &live) => return Ok(live),
        Some(live) if pinned && !drift::same_source(&wanted, &live) => return Ok(live),
        // Force puts back what others have set, on exactly the object that was read.
        Some(live) => {
            wanted.meta_mut().uid = live.uid();
            wanted.meta_mut().resource_version = live.resource_version();
            ("patch", apply.force())
        }
        // Without force: should somebody have created an object of this name since the read, its fields win and the
        // apply is refused. (A plain create would make the operator the owner of defaulted fields such as
        // spec.replicas, which the next apply would then reset.)
        None => ("create", apply),
    };
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let written = api.patch(&name, &parameters, &Patch::Apply(&wanted)).await;
    let written = written.map_err(|error| Error::of::<K>(verb, &namespace, &name, error))?;
    info!(kind = %K::kind(&()), namespace, name, verb, "object applied");
    Ok(written)
}
