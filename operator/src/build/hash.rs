//! Fingerprints: whether an object, or a file in it, is still the same.

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use md5::{Digest, Md5};
use serde::Serialize;

/// The annotation with the fingerprint of the object as it was last written.
pub const APPLIED_HASH: &str = "kinex.dev/applied-hash";

/// The annotation of a pod template with the fingerprint of its settings file: another file makes other pods.
pub const CONFIG_HASH: &str = "kinex.dev/config-hash";

/// The fingerprint of a value. Nothing is kept safe by it.
pub(super) fn of(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).expect("objects of Kubernetes are JSON");
    let digest = Md5::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes an object's fingerprint on it.
pub(super) fn seal<K: Metadata<Ty = ObjectMeta> + Serialize>(object: &mut K) {
    let hash = of(object);
    let annotations = object.metadata_mut().annotations.get_or_insert_default();
    annotations.insert(APPLIED_HASH.to_owned(), hash);
}
