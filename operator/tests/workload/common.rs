//! Experiments and settings to test with.

use std::path::Path;

use clap::Parser;
use kinex_api::{KinesisExperiment, convert, load};
use kinex_core::experiment::Spec;
use kinex_operator::args::Args;
use kinex_operator::settings::{Settings, SettingsError};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// The settings of a command line, in a pod of namespace `lab` and a cluster whose API server is 10.96.0.1.
pub(crate) fn resolve(flags: &[&str]) -> Result<Settings, SettingsError> {
    let args = Command::try_parse_from([&["operator"], flags].concat()).unwrap().args;
    Settings::resolve(args, |name| match name {
        "POD_NAMESPACE" => Some("lab".to_owned()),
        "KUBERNETES_SERVICE_HOST" => Some("10.96.0.1".to_owned()),
        _ => None,
    })
}

/// The flags that an installation on the embedded endpoint has, and these.
pub(crate) fn settings(flags: &[&str]) -> Settings {
    let usual = ["--image=kinex:dev", "--endpoint-url=http://kinex-emulator:4566"];
    resolve(&[&usual, flags].concat()).unwrap()
}

/// The manifests of `deploy/experiments`.
pub(crate) const EXPERIMENTS: [&str; 5] = [
    "rebalance.yaml",
    "rebalance-preset.yaml",
    "quick.yaml",
    "stealing.yaml",
    "pod-loss-and-merge.yaml",
];

/// A manifest of `deploy/experiments`, as the API server has it.
pub(crate) fn experiment(file: &str) -> KinesisExperiment {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/experiments")
        .join(file);
    parse(&std::fs::read_to_string(path).unwrap())
}

/// A manifest, as the API server has it.
pub(crate) fn parse(text: &str) -> KinesisExperiment {
    let mut experiment = load(text, "manifest").unwrap_or_else(|error| panic!("{error}"));
    experiment.metadata.namespace = Some("lab".to_owned());
    experiment.metadata.uid = Some("3b1a2c4d-0000-4000-8000-000000000001".to_owned());
    experiment
}

pub(crate) fn spec(experiment: &KinesisExperiment) -> Spec {
    convert(experiment).unwrap()
}
