//! Writing the objects of an experiment, by server-side apply. Needs the client.
//!
//! # Guarantees
//! An object that the cluster has as it is wanted is not written. What others set on it stays; what this operator sets
//! is put back. An object of the same name that belongs to somebody else is never touched.

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
use crate::permissions;

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
    /// An object of that name belongs to somebody else.
    #[error(
        "{resource} {name} belongs to {owner}: nothing is changed; rename the experiment, or set another \
         spec.consumers.statefulSetName"
    )]
    Taken {
        /// On what: `statefulsets.apps`.
        resource: String,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
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
}

impl Workload<Prepared> {
    /// Writes what the cluster does not have so, and gives everything as the cluster has it then.
    ///
    /// `live` may be old: then an object is written that need not be, which changes nothing.
    ///
    /// # Errors
    /// The first object that cannot be written; those before it are. Running it again goes on from there.
    pub async fn apply(self, client: &Client, live: Live) -> Result<Workload<Applied>, Error> {
        let Self {
            config,
            service,
            disruption,
            consumer,
            producer,
            stage: PhantomData,
        } = self;
        Ok(Workload {
            config: apply(client, config, live.config).await?,
            service: apply(client, service, live.service).await?,
            disruption: apply(client, disruption, live.disruption).await?,
            consumer: apply(client, consumer, live.consumer).await?,
            producer: apply(client, producer, live.producer).await?,
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

async fn apply<K>(client: &Client, wanted: K, live: Option<K>) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
{
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let verb = if live.is_some() { "patch" } else { "create" };
    if let Some(live) = live {
        if let Some(owner) = drift::stranger(&wanted, &live) {
            let resource = permissions::resource::<K>();
            return Err(Error::Taken { resource, name, owner });
        }
        if drift::as_wanted(&wanted, &live) {
            return Ok(live);
        }
    }
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch(&name, &parameters, &Patch::Apply(&wanted)).await;
    let written = written.map_err(|error| Error::of::<K>(verb, &namespace, &name, error))?;
    info!(kind = %K::kind(&()), namespace, name, verb, "object applied");
    Ok(written)
}
