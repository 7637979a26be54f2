//! The command line of the consumer.

use std::path::PathBuf;

/// Read a stream as one worker of an application, count and audit what comes.
///
/// Exit codes: 0 left in good order, 1 failed, 2 wrong settings, 3 cannot connect, 5 the stream was replaced by
/// another one of its name, 75 the worker's name is in use by
/// another process.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Settings in YAML; flags override them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this worker [default: $POD_NAME, else the host name]
    #[arg(long, value_name = "NAME")]
    pub worker_id: Option<String>,
    /// Stream to read, by its name or its ARN
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Application: the name of the lease table; its workers' table is NAME-workers
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// Endpoint of Kinesis and DynamoDB, for anything that speaks their protocol
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Endpoint of Kinesis alone
    #[arg(long, value_name = "URL")]
    pub kinesis_endpoint_url: Option<String>,
    /// Endpoint of DynamoDB alone
    #[arg(long, value_name = "URL")]
    pub dynamodb_endpoint_url: Option<String>,
    /// Sign with the credentials of the environment at custom endpoints too, such as VPC endpoints
    #[arg(long)]
    pub sign: bool,
    /// AWS region
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Any setting of the file, by its key: `--set failover_time_millis=5000`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Serve /metrics, /livez and /readyz here, e.g. 127.0.0.1:9100; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub metrics_addr: Option<String>,
    /// Write this process's incarnation there at the start (Kubernetes: the container's termination log)
    #[arg(long, value_name = "FILE")]
    pub termination_log: Option<PathBuf>,
    /// Write one JSON line {"worker":..,"incarnation":..,"metrics":..} there at the start
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
    /// Obey the orders of an experiment in this worker's row: crash, freeze
    #[arg(long)]
    pub allow_chaos: bool,
    /// Pretend that each record takes this long
    #[arg(long, value_name = "MILLIS")]
    pub work_millis: Option<u64>,
    /// Fail on records whose payload contains this text
    #[arg(long, value_name = "TEXT")]
    pub fail_on: Option<String>,
}
