//! The command line of the producer.

use std::path::PathBuf;

/// Send numbered records to a stream at a steady rate.
///
/// Exit codes: 0 ended in good order, 1 failed, 2 wrong settings, 3 cannot connect.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Stream to write to, by its name or its ARN
    #[arg(long, value_name = "NAME")]
    pub stream: String,
    /// Application whose workers' table takes the producer's rows and gives its orders; without it there is no audit
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
    /// Records per second; the fact row `control/producer` {"recordsPerSecond": N} changes it while it runs
    #[arg(long, value_name = "N", default_value_t = 40.0)]
    pub records_per_second: f64,
    /// Size of a record
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub record_bytes: usize,
    /// Lanes; records of one lane stay in order, and the lanes are spread evenly over all hash keys
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub lanes: u32,
    /// Name of the run, so that the records of two runs never mix [default: a new one]
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    pub records: Option<u64>,
    /// Wait for a stream and tables that are not there yet, instead of ending with an error or making them
    #[arg(long)]
    pub wait_for_stream: bool,
    /// Serve /metrics, /livez and /readyz here, e.g. 127.0.0.1:9101; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub metrics_addr: Option<String>,
    /// Write one JSON line {"source":..,"metrics":..} there at the start
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
}
