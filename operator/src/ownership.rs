//! Whose an object is: the one rule by which everything that this operator changes or deletes is chosen. No client.
//!
//! A name or a label proves nothing, since anybody may use them. An object belongs to an experiment when its controller
//! owner reference has that experiment's uid
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/>).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

/// The label that carries an experiment's uid to what has no owner reference to it: pods and reports that stay.
pub(crate) const EXPERIMENT_UID: &str = "kinex.dev/experiment-uid";

/// The owner reference that names the controller of an object.
pub(crate) fn controller<K: Resource>(object: &K) -> Option<&OwnerReference> {
    let owners = object.owner_references().iter();
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this uid controls `object`.
pub(crate) fn owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller(object).is_some_and(|owner| owner.uid == uid)
}

/// Who has an object that is not controlled by `wanted`'s controller, in words that follow "it"; `None`: it is ours.
pub(crate) fn stranger<K: Resource>(wanted: &K, live: &K) -> Option<String> {
    let ours = controller(wanted)?;
    match controller(live) {
        None => Some("has no controller".to_owned()),
        Some(theirs) if theirs.uid == ours.uid => None,
        Some(theirs) if theirs.kind == ours.kind && theirs.name == ours.name => Some(format!(
            "is controlled by an earlier {} {} (uid {})",
            theirs.kind, theirs.name, theirs.uid
        )),
        Some(theirs) => Some(format!("is controlled by {} {}", theirs.kind, theirs.name)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn config(owner: Option<(&str, &str, bool)>) -> ConfigMap {
        let owner = owner.map(|(name, uid, controller)| OwnerReference {
            api_version: "kinex.dev/v1alpha1".to_owned(),
            kind: "KinesisExperiment".to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(controller),
            block_owner_deletion: None,
        });
        ConfigMap {
            metadata: ObjectMeta {
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    #[test]
    fn only_the_controllers_uid_makes_an_object_ours() {
        let wanted = config(Some(("orders", "1", true)));
        let check = |live: Option<(&str, &str, bool)>, expected: Option<&str>| {
            let found = stranger(&wanted, &config(live));
            assert_eq!(found.as_deref(), expected, "{live:?}");
            assert_eq!(owned_by(&config(live), "1"), expected.is_none(), "{live:?}");
        };
        check(Some(("orders", "1", true)), None);
        check(None, Some("has no controller"));
        check(Some(("orders", "1", false)), Some("has no controller"));
        check(
            Some(("orders", "2", true)),
            Some("is controlled by an earlier KinesisExperiment orders (uid 2)"),
        );
        check(
            Some(("billing", "2", true)),
            Some("is controlled by KinesisExperiment billing"),
        );
    }
}
