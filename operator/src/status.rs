//! The status as Kubernetes has it: conditions added, and written under the resource's version.
