//! The custom resource definition, as it is printed and as the API server gets it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::types::KinesisExperiment;

/// The definition that the types give.
pub fn crd() -> CustomResourceDefinition {
    KinesisExperiment::crd()
}

/// The definition as YAML, for `kubectl apply -f`.
pub fn crd_yaml() -> String {
    serde_saphyr::to_string(&crd()).expect("a definition made of maps, lists and texts is YAML")
}
