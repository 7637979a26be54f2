//! What an experiment with `deletionPolicy: Delete` takes with it. Client required.
//!
//! Everything in the cluster goes by owner references; only the stream and the tables need a finalizer. It gives up after
//! a while: nobody shall have to edit finalizers because an endpoint is gone.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Created, Timestamp};
use kinex_stage::{Subject, ledger};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::observe::Cluster;

/// What holds a deleted experiment until its stream is deleted.
pub(crate) const FINALIZER: &str = "kinex.dev/cleanup";
/// Who owns the finalizer.
const FIELD_MANAGER: &str = "kinex/cleanup";
/// One try to delete the stream and the tables.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the experiment carries the finalizer.
pub(crate) fn held(experiment: &KinesisExperiment) -> bool {
    experiment.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Puts the finalizer on an experiment, or takes it off.
///
/// # Errors
/// 409 when the experiment was changed in between.
pub(crate) async fn hold(
    client: &Client,
    experiment: &KinesisExperiment,
    wanted: bool,
) -> kube::Result<KinesisExperiment> {
    let api: Api<KinesisExperiment> = Api::namespaced(client.clone(), &experiment.namespace().unwrap_or_default());
    let mut finalizers = experiment.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({
        "metadata": {
            "uid": experiment.uid(),
            "resourceVersion": experiment.resource_version(),
            "finalizers": finalizers,
        },
    }));
    api.patch(&experiment.name_any(), &parameters, &patch).await
}

/// Since when the experiment is being deleted.
pub(crate) fn deleted_at(experiment: &KinesisExperiment) -> Option<Timestamp> {
    let deleted = experiment.metadata.deletion_timestamp.as_ref()?;
    Some(Timestamp(deleted.0.as_millisecond()))
}

/// Ends the programs that would go on working on the stream, or make their tables again.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn stop_programs(client: &Client, cluster: &Cluster) -> kube::Result<()> {
    if let Some(set) = &cluster.set {
        delete_exactly(client, set.as_ref()).await?;
    }
    if let Some(producer) = &cluster.producer {
        delete_exactly(client, producer.as_ref()).await?;
    }
    Ok(())
}

/// Deletes this very object; another one of its name stays, and so does one that was changed since it was read. Says
/// whether there is none of its name any more.
///
/// # Errors
/// When the API server refuses for another reason.
pub(crate) async fn delete_exactly<K>(client: &Client, object: &K) -> kube::Result<bool>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }),
        ..DeleteParams::background()
    };
    match api.delete(&object.name_any(), &parameters).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(false),
        other => other.map(|_| true),
    }
}

/// Deletes the stream and the tables that the experiment created. What is gone already is no error. Returns in words what
/// stays, because it is somebody else's.
///
/// # Errors
/// What the endpoint says, or that it says nothing.
pub(crate) async fn delete(subject: &Subject, created: &Created) -> Result<Vec<String>, String> {
    match tokio::time::timeout(PATIENCE, Box::pin(ledger::delete(subject, created))).await {
        Ok(answer) => answer.map_err(|fault| fault.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}
