//! Which Kinesis and DynamoDB a command talks to, and about which stream and application.

use std::path::PathBuf;

use kinex_aws::{Access, Clients, Fault, FaultKind, patiently, stream_name};
use kinex_core::application;
use kinex_stage::Subject;
use serde::{Deserialize, Serialize};

use crate::exit::{Code, Stop};

/// Where `kinex emulator` listens unless told otherwise.
pub(crate) const EMULATOR_PORT: u16 = 4566;

/// Which endpoint.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Endpoint {
    /// Endpoint of Kinesis and DynamoDB, for anything that speaks their protocols
    #[arg(long, value_name = "URL", env = "KINEX_ENDPOINT_URL", conflicts_with = "aws")]
    pub(crate) endpoint_url: Option<String>,
    /// Endpoint of Kinesis alone; with --aws a VPC endpoint
    #[arg(long, value_name = "URL")]
    pub(crate) kinesis_endpoint_url: Option<String>,
    /// Endpoint of DynamoDB alone; with --aws a VPC endpoint
    #[arg(long, value_name = "URL")]
    pub(crate) dynamodb_endpoint_url: Option<String>,
    /// Real AWS, with the credentials of the environment
    #[arg(long)]
    pub(crate) aws: bool,
    /// Sign with the credentials of the environment at any endpoint [default: with made-up ones, except with --aws]
    #[arg(long)]
    pub(crate) sign: bool,
    /// AWS region
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
}

impl Endpoint {
    /// Whether the user named any.
    pub(crate) fn given(&self) -> bool {
        self.aws
            || self.endpoint_url.is_some()
            || self.kinesis_endpoint_url.is_some()
            || self.dynamodb_endpoint_url.is_some()
    }

    /// What the clients take.
    pub(crate) fn access(&self) -> Access {
        Access {
            endpoint: self.endpoint_url.clone(),
            kinesis_endpoint: self.kinesis_endpoint_url.clone(),
            dynamodb_endpoint: self.dynamodb_endpoint_url.clone(),
            region: self.region.clone(),
            // Whoever says AWS means its credentials, at its VPC endpoints too.
            send_credentials: self.sign || self.aws,
            ..Access::default()
        }
    }
}

/// Which stream and application, at which endpoint.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
    /// The stream, by its name or its ARN [default: kcl-experiment]
    #[arg(long, value_name = "NAME", env = "KINEX_STREAM", help_heading = "Connection")]
    pub(crate) stream: Option<String>,
    /// The application: the name of the lease table [default: the name of the stream; of one with fewer than three characters, kinex-STREAM]
    #[arg(long, value_name = "NAME", env = "KINEX_APPLICATION", help_heading = "Connection")]
    pub(crate) application: Option<String>,
    /// A local run, by its report directory: its endpoint, stream and application
    #[arg(long, value_name = "DIR", help_heading = "Connection", conflicts_with_all = ["endpoint_url", "aws"])]
    pub(crate) run: Option<PathBuf>,
}

/// What a running `kinex run` leaves in its directory, so that other commands find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunFile {
    /// The process.
    pub(crate) pid: u32,
    /// Endpoint of Kinesis; absent: real AWS.
    pub(crate) kinesis: Option<String>,
    /// Endpoint of DynamoDB; absent: real AWS.
    pub(crate) dynamodb: Option<String>,
    /// The region, when one was given.
    pub(crate) region: Option<String>,
    /// Whether custom endpoints get the credentials of the environment.
    #[serde(default)]
    pub(crate) sign: bool,
    /// The stream.
    pub(crate) stream: String,
    /// The application.
    pub(crate) application: String,
}

/// The name of that file.
pub(crate) const RUN_FILE: &str = "run.json";

/// The file beside it that a run keeps locked for as long as it lives.
pub(crate) const LOCK_FILE: &str = "run.lock";

/// A connection, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    /// The clients.
    pub(crate) clients: Clients,
    /// The endpoint, for people.
    pub(crate) label: String,
    /// The stream.
    pub(crate) stream: String,
    /// The application.
    pub(crate) application: String,
}

/// The stream that the guide uses.
const STREAM: &str = "kcl-experiment";

impl Target {
    /// Prepares the clients; sends nothing yet.
    ///
    /// # Errors
    /// When the run's directory has no such file, an endpoint is no URL, or the application cannot have such a name.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connected> {
        let (access, stream, application) = match &self.run {
            Some(directory) => {
                let file = RunFile::read(directory)?;
                (file.access(), file.stream, file.application)
            }
            None => {
                let mut access = self.endpoint.access();
                if !self.endpoint.given() {
                    access.endpoint = Some(format!("http://127.0.0.1:{EMULATOR_PORT}"));
                }
                let stream = self.stream.clone().unwrap_or_else(|| STREAM.to_owned());
                let application = match &self.application {
                    Some(application) => application.clone(),
                    None => application::default_for(stream_name(&stream)).into_owned(),
                };
                application::check(&application).map_err(|invalid| {
                    Stop::usage(invalid.to_string()).next("give another name: --application NAME")
                })?;
                (access, stream, application)
            }
        };
        let label = label(&access);
        let clients = Clients::connect(&access).await?;
        Ok(Connected {
            clients,
            label,
            stream,
            application,
        })
    }
}

impl Connected {
    /// What the connection is about.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            clients: self.clients.clone(),
            stream: self.stream.clone(),
            application: self.application.clone(),
        }
    }

    /// Asks, and for up to 15 s again while the account's rate of that call is used up: a split that has just ended has
    /// used it, and nobody should have to type a command twice for that. The question must change nothing.
    ///
    /// # Errors
    /// The last fault, with what to do about it here.
    pub(crate) async fn ask<T, F, Fut>(&self, question: F) -> anyhow::Result<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Fault>>,
    {
        let asked = patiently(|| async {
            match question().await {
                Err(fault) if fault.kind != FaultKind::Throttled => Ok(Err(fault)),
                answer => answer.map(Ok),
            }
        });
        asked.await.flatten().map_err(|fault| self.explain(fault))
    }

    /// A fault with what to do about it here.
    pub(crate) fn explain(&self, fault: Fault) -> anyhow::Error {
        let (code, next) = match fault.kind {
            FaultKind::Unreachable if self.label == "aws" => (
                Code::CannotConnect,
                "see whether this machine reaches AWS, and which region is set".to_owned(),
            ),
            FaultKind::Unreachable => {
                let next = "start the endpoint (`kinex emulator`), or name another one: --endpoint-url URL, --aws";
                (Code::CannotConnect, next.to_owned())
            }
            FaultKind::Denied => (
                Code::CannotConnect,
                "check the credentials and their permissions".to_owned(),
            ),
            FaultKind::Missing => {
                let names = format!("--stream {} --application {}", self.stream, self.application);
                (
                    Code::Usage,
                    format!("make stream and tables with `kinex start {names}`, or name others"),
                )
            }
            FaultKind::Throttled
            | FaultKind::Service
            | FaultKind::Incomplete
            | FaultKind::Rejected
            | FaultKind::IteratorExpired => (Code::Failed, "try again in a moment".to_owned()),
            // The fault itself says what to change.
            FaultKind::Invalid | FaultKind::StreamReplaced => {
                return Stop::usage(self.label.clone()).source(fault).into();
            }
        };
        Stop::new(code, self.label.clone()).next(next).source(fault).into()
    }
}

impl RunFile {
    /// Reads it from the directory of a run that is at work.
    ///
    /// # Errors
    /// When it is not there, or its run has ended without removing it.
    pub(crate) fn read(directory: &std::path::Path) -> anyhow::Result<Self> {
        let path = directory.join(RUN_FILE);
        let nobody = || {
            Stop::usage(format!("no run is at work in {}", directory.display()))
                .next("give the report directory of a `kinex run` that is running; it prints it at its start")
        };
        let text = std::fs::read_to_string(&path).map_err(|source| nobody().source(source))?;
        // Whoever gets the lock, for this moment, knows that its holder has gone.
        if std::fs::File::open(directory.join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock_shared().is_ok()) {
            return Err(nobody().into());
        }
        let file: Self = serde_json::from_str(&text)
            .map_err(|source| Stop::new(Code::Failed, format!("{} is damaged", path.display())).source(source))?;
        Ok(file)
    }

    fn access(&self) -> Access {
        Access {
            kinesis_endpoint: self.kinesis.clone(),
            dynamodb_endpoint: self.dynamodb.clone(),
            region: self.region.clone(),
            send_credentials: self.sign,
            ..Access::default()
        }
    }
}

/// The endpoint, for people.
pub(crate) fn label(access: &Access) -> String {
    match (&access.endpoint, &access.kinesis_endpoint, &access.dynamodb_endpoint) {
        (Some(url), None, None) => url.clone(),
        (None, None, None) => "aws".to_owned(),
        (all, kinesis, dynamodb) => {
            let url = |one: &Option<String>| one.clone().or_else(|| all.clone()).unwrap_or_else(|| "aws".to_owned());
            let (kinesis, dynamodb) = (url(kinesis), url(dynamodb));
            if kinesis == dynamodb {
                kinesis
            } else {
                format!("{kinesis} and {dynamodb}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        endpoint: Endpoint,
    }

    /// Whether custom endpoints get real credentials; `None`: the flags are refused.
    fn signs(flags: &[&str]) -> Option<bool> {
        let parsed = Command::try_parse_from([&["kinex"], flags].concat()).ok()?;
        Some(parsed.endpoint.access().send_credentials)
    }

    #[test]
    fn endpoints_get_real_credentials_with_aws_or_when_told_so() {
        let vpc = "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com";
        assert_eq!(signs(&["--kinesis-endpoint-url", vpc]), Some(false));
        assert_eq!(signs(&["--aws", "--kinesis-endpoint-url", vpc]), Some(true));
        assert_eq!(signs(&["--aws", "--dynamodb-endpoint-url", vpc]), Some(true));
        assert_eq!(signs(&["--endpoint-url", "http://127.0.0.1:4566"]), Some(false));
        assert_eq!(
            signs(&["--endpoint-url", "http://127.0.0.1:4566", "--sign"]),
            Some(true)
        );
        assert_eq!(signs(&["--aws", "--endpoint-url", "http://127.0.0.1:4566"]), None);
    }

    #[test]
    fn an_endpoint_of_one_service_with_aws_leaves_the_other_to_aws() {
        let url = "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com";
        let parsed = Command::try_parse_from(["kinex", "--aws", "--kinesis-endpoint-url", url]).expect("both go");
        let access = parsed.endpoint.access();
        assert_eq!(access.kinesis_endpoint.as_deref(), Some(url));
        assert_eq!((access.endpoint, access.dynamodb_endpoint), (None, None));
    }
}
