//! The place of the Kubernetes operator of `KinesisExperiment`. It is not built yet: nothing is here, and the command
//! has no `operator`. It will turn what [`kinex_core::experiment`] decides into patches of a StatefulSet and calls to the
//! stream, as `kinex run` turns it into child processes.

pub mod metrics;
