//! Whole experiments in one process: the operator's loop, an API server in memory with its kubelet, and endpoints for
//! Kinesis and DynamoDB.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use kinex_api::load;
use kinex_aws::{Access, Clients};
use kinex_embedded::{Endpoints, Options};
use kinex_telemetry::Health;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api_server::ApiServer;
use super::fleet::Fleet;
use crate::args::Args;
use crate::controller::{self, Shared};
use crate::leader::Tenure;
use crate::link;
use crate::metrics::Meters;
use crate::settings::Settings;
use crate::watch::{self, Signs};

/// What is not answered within this time is given up: shorter than outside of tests, which have many such calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long anything may take, however slow the machine is.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

pub(super) const EXPERIMENTS: &str = "/apis/kinex.dev/v1alpha1/namespaces/lab/kinesisexperiments";
pub(super) const MAPS: &str = "/api/v1/namespaces/lab/configmaps";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Endpoints for both services on one port, without rates.
pub(super) async fn endpoints() -> Endpoints {
    let options = Options {
        one_port: true,
        limits: false,
        ..Options::default()
    };
    Endpoints::start(options).await.unwrap()
}

fn settings(flags: &[&str]) -> Settings {
    let args = Command::try_parse_from([&["operator"], flags].concat()).unwrap().args;
    Settings::resolve(args, |name| (name == "POD_NAMESPACE").then(|| "lab".to_owned())).unwrap()
}

/// An experiment, its operator and its fleet.
pub(super) struct Lab {
    pub(super) server: ApiServer,
    pub(super) clients: Clients,
    pub(super) signs: Signs,
    pub(super) name: String,
    /// The image that the operator is started with from now on.
    pub(super) image: String,
    quiet: CancellationToken,
    tasks: JoinSet<()>,
}

impl Lab {
    /// Puts the experiment there and starts everything. The manifest's name is the stream's and the tables' too.
    pub(super) async fn start(endpoints: &Endpoints, server: &ApiServer, name: &str, spec: &str) -> Self {
        let clients = Self::clients(endpoints).await;
        let manifest = format!(
            "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: {name}}}\nspec:\n{spec}"
        );
        let experiment = load(&manifest, "manifest").unwrap_or_else(|error| panic!("{error}"));
        let mut object = serde_json::to_value(&experiment).unwrap();
        object["metadata"]["uid"] = json!(uuid::Uuid::new_v4().to_string());
        server.put(&format!("{EXPERIMENTS}/{name}"), object);
        let mut lab = Self {
            server: server.clone(),
            signs: Signs::default(),
            name: name.to_owned(),
            image: "kinex:dev".to_owned(),
            quiet: CancellationToken::new(),
            tasks: JoinSet::new(),
            clients,
        };
        lab.begin(endpoints);
        lab
    }

    pub(super) async fn clients(endpoints: &Endpoints) -> Clients {
        let access = Access::endpoint(endpoints.kinesis_url());
        Clients::connect(&access).await.unwrap()
    }

    fn begin(&mut self, endpoints: &Endpoints) {
        self.operator(endpoints, &[]);
        let fleet = Fleet::new(&self.server, &self.clients, &self.name, &self.name);
        self.tasks.spawn(fleet.run());
    }

    /// Kills the operator, and starts another when something has happened meanwhile.
    pub(super) async fn restart(&mut self, endpoints: &Endpoints, meanwhile: impl FnOnce(&Self)) {
        self.tasks.shutdown().await;
        meanwhile(self);
        self.begin(endpoints);
    }

    /// Starts an operator, with more flags.
    pub(super) fn operator(&mut self, endpoints: &Endpoints, more: &[&str]) {
        let url = endpoints.kinesis_url();
        let client = link::bounded(&self.server.client(), PATIENCE);
        let flags = [format!("--endpoint-url={url}"), format!("--image={}", self.image)];
        let reporter = Reporter {
            controller: "kinex-operator".to_owned(),
            instance: Some("lab".to_owned()),
        };
        let shared = Shared {
            recorder: Recorder::new(client.clone(), reporter),
            client: client.clone(),
            settings: Arc::new(settings(&[&[flags[0].as_str(), &flags[1]], more].concat())),
            meters: Meters::default(),
            health: Health::default(),
            tenure: Tenure::always(),
            signs: self.signs.clone(),
            wide: false,
        };
        let (stores, pokes) = watch::start(&client, Some("lab"), &self.signs, &self.quiet, &mut self.tasks);
        let quiet = self.quiet.clone();
        let working = controller::run(shared, Some("lab".to_owned()), stores, pokes, quiet);
        self.tasks.spawn(working);
    }

    /// As [`start`](Self::start), with a manifest whose only step is called `stand`; waits until the run stands in it.
    pub(super) async fn standing(endpoints: &Endpoints, server: &ApiServer, name: &str, spec: &str) -> Self {
        let lab = Self::start(endpoints, server, name, spec).await;
        lab.until("step", LIMIT, Self::stands).await.unwrap();
        lab
    }

    /// Whether the run is at work on its only step, `stand`.
    pub(super) fn stands(&self) -> bool {
        self.status()["step"] == "1/1 stand"
    }

    /// Edits the experiment, as somebody with no rules in the way.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut object = self.object().expect("it is there");
        edit(&mut object);
        self.server.put(&self.path(), object);
    }

    /// The notes of the events with this reason.
    pub(super) fn told(&self, reason: &str) -> Vec<String> {
        let events = self.server.below("/apis/events.k8s.io/v1/namespaces/lab/events/");
        let found = events.iter().filter(|event| event["reason"] == reason);
        found
            .map(|event| event["note"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub(super) fn path(&self) -> String {
        format!("{EXPERIMENTS}/{}", self.name)
    }

    pub(super) fn object(&self) -> Option<Value> {
        self.server.get(&self.path())
    }

    pub(super) fn status(&self) -> Value {
        self.object().map_or(Value::Null, |object| object["status"].clone())
    }

    /// The status and the reason of a condition.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|one| one["type"] == kind);
        let text = |key: &str| found.map_or("", |one| one[key].as_str().unwrap_or_default()).to_owned();
        (text("status"), text("reason"))
    }

    /// Waits for something, for so long at most; gives the time that it took, or where everything stands.
    pub(super) async fn until(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<Duration, String> {
        let begun = Instant::now();
        while !holds(self) {
            if begun.elapsed() > within {
                let status = self.status();
                return Err(format!(
                    "{}: no {what} after {within:?}: {} {} {} {}",
                    self.name, status["phase"], status["step"], status["message"], status["conditions"]
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(begun.elapsed())
    }

    pub(super) async fn complete(&self, within: Duration) -> Result<Duration, String> {
        let complete = |lab: &Self| lab.condition("Complete").0 == "True";
        self.until("end of the run", within, complete).await
    }

    /// Ends everything.
    pub(super) async fn stop(mut self) {
        self.quiet.cancel();
        self.tasks.shutdown().await;
    }
}
