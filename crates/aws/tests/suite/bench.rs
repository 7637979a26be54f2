//! Endpoints and what the tests do behind the adapters' back.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::{Client, Config, config};
use kinex_aws::{Access, Clients, Leases};
use kinex_embedded::{Endpoints, Options};

/// Endpoints of their own, and clients to them.
pub(crate) struct Bench {
    /// The endpoints.
    pub(crate) endpoints: Endpoints,
    /// What is tested.
    pub(crate) clients: Clients,
    /// A plain SDK client, to write what the adapters never would.
    pub(crate) raw: Client,
    numbers: AtomicUsize,
}

impl Bench {
    /// Endpoints without the rates of Kinesis, which only make tests slow.
    pub(crate) async fn start() -> Self {
        let options = Options {
            limits: false,
            ..Options::default()
        };
        let endpoints = Endpoints::start(options).await.expect("the endpoints start");
        let clients = Clients::connect(&access(&endpoints))
            .await
            .expect("loopback needs nothing");
        let raw = raw(&endpoints.dynamodb_url());
        Self {
            endpoints,
            clients,
            raw,
            numbers: AtomicUsize::new(0),
        }
    }

    /// A name that no other test thing has.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// A lease store on empty tables, and the name of its application.
    pub(crate) async fn store(&self) -> (Leases, String) {
        let application = self.name("app");
        self.clients.tables(&application).ensure().await.expect("tables");
        (self.clients.leases(&application), application)
    }

    /// Puts a whole item.
    pub(crate) async fn put(&self, table: &str, item: &[(&str, AttributeValue)]) {
        let item = item
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let request = self.raw.put_item().table_name(table).set_item(Some(item));
        request.send().await.expect("the raw put works");
    }
}

pub(crate) fn access(endpoints: &Endpoints) -> Access {
    Access {
        kinesis_endpoint: Some(endpoints.kinesis_url()),
        dynamodb_endpoint: Some(endpoints.dynamodb_url()),
        ..Access::default()
    }
}

fn raw(url: &str) -> Client {
    let config = Config::builder()
        .behavior_version(config::BehaviorVersion::v2026_01_12())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(config::Region::new("us-east-1"))
        .credentials_provider(config::Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(url);
    Client::from_conf(config.build())
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(digits: &str) -> AttributeValue {
    AttributeValue::N(digits.to_owned())
}
