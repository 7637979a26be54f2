//! The Kubernetes operator of KinesisExperiment
