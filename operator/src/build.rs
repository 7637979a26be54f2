//! The Kubernetes objects of an experiment, as plain values: one file per kind, no client.
//!
//! What is built depends on the experiment, the operator's settings and the run alone, so that the same input gives the
//! same objects and nothing is written that has not changed. `spec.replicas` of the StatefulSet is nowhere set: it
//! belongs to the scale interface.

mod config_map;
mod deployment;
mod hash;
mod parts;
mod pdb;
mod service;
mod statefulset;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::Spec;
use kube::ResourceExt;

pub use self::hash::{APPLIED_HASH, CONFIG_HASH};
use self::parts::Parts;
use crate::settings::Settings;

/// Objects that are wanted and not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {}

/// Objects as the cluster has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// Everything that an experiment's pods are made from, in the order in which it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload<Stage> {
    /// The consumers' settings.
    pub config: ConfigMap,
    /// Gives each consumer's pod its name in DNS.
    pub service: Service,
    /// Lets a drain take one consumer at a time.
    pub disruption: PodDisruptionBudget,
    /// The consumers.
    pub consumer: StatefulSet,
    /// The producer.
    pub producer: Deployment,
    pub(crate) stage: PhantomData<Stage>,
}

/// Builds the objects of an experiment. `run` names the run, so that the records of two runs never mix.
pub fn workload(experiment: &KinesisExperiment, spec: &Spec, settings: &Settings, run: &str) -> Workload<Prepared> {
    let parts = Parts::of(experiment, spec, settings, run);
    let config = config_map::consumer(&parts);
    let mut workload = Workload {
        consumer: statefulset::consumer(&parts, &hash::of(&config.data)),
        service: service::consumer(&parts),
        disruption: pdb::consumer(&parts),
        producer: deployment::producer(&parts),
        config,
        stage: PhantomData,
    };
    // Destructured whole, so that a new object cannot be forgotten.
    let Workload {
        config,
        service,
        disruption,
        consumer,
        producer,
        stage: PhantomData,
    } = &mut workload;
    hash::seal(config);
    hash::seal(service);
    hash::seal(disruption);
    hash::seal(consumer);
    hash::seal(producer);
    workload
}

/// The name of the consumers' StatefulSet, and of all that is about consumers; pods and workers are `<name>-<ordinal>`.
pub fn consumer_name(experiment: &KinesisExperiment) -> String {
    let own = experiment.spec.consumers.stateful_set_name.clone();
    own.unwrap_or_else(|| format!("{}-consumer", experiment.name_any()))
}

/// The name of the producer's Deployment.
pub fn producer_name(experiment: &KinesisExperiment) -> String {
    format!("{}-producer", experiment.name_any())
}

/// The labels of a part of an experiment; `component` is `consumer` or `producer`.
pub fn labels(experiment: &KinesisExperiment, component: &str) -> std::collections::BTreeMap<String, String> {
    parts::labels(&experiment.name_any(), component)
}
