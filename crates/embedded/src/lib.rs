//! Kinesis and DynamoDB endpoints inside the process.
//!
//! Both speak the real wire protocols (Kinesis JSON 1.1 and CBOR 1.1, DynamoDB JSON 1.0, `X-Amz-Target`), so any AWS SDK
//! can talk to them. They listen on loopback, keep everything in memory, count every request and misbehave on demand:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kinex_embedded::StartError> {
//! use kinex_embedded::{Endpoints, Fault, Options, Rule, Service};
//!
//! let endpoints = Endpoints::start(Options::default()).await?;
//! println!("{} {}", endpoints.kinesis_url(), endpoints.dynamodb_url());
//!
//! // Every third UpdateItem is carried out, but its answer is lost.
//! endpoints.faults().add(Rule::new(Service::DynamoDb, "UpdateItem", Fault::ReplyLost).every(3));
//! assert_eq!(endpoints.requests().count(Service::DynamoDb, "UpdateItem"), 0);
//! endpoints.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! DynamoDB is the crate `dynoxide-rs`; Kinesis is a model of our own. Leases, workers and experiments are unknown here.

mod answer;
mod cbor;
mod clock;
mod connection;
mod dead_port;
mod dynamodb;
mod endpoints;
mod faults;
mod front;
mod kinesis;
mod private;
mod requests;
mod tenant;

pub use clock::{Clock, VirtualClock};
pub use dead_port::DeadPort;
pub use endpoints::{Endpoints, Options, StartError};
pub use faults::{Active, Fault, Faults, InjectedError, Link, Rule, When};
pub use requests::{Api, Counts, Requests, Second, Service};
