//! SDK clients for an endpoint, and the requests that many checks make.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::put_record::PutRecordOutput;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{Record, Shard, ShardIteratorType, StreamStatus};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::OnceCell;

use crate::suite::{Failure, eventually};

fn credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "conformance")
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(3)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(15))
        .build()
}

/// A state that passes may be over before a busy machine has asked for it: so often it is tried again.
pub(crate) const TRIES: usize = 5;

/// Kinesis at an endpoint.
#[derive(Clone)]
pub(crate) struct Kinesis {
    pub(crate) client: aws_sdk_kinesis::Client,
    streams: Arc<AtomicUsize>,
    /// A stream of one shard that was split a while after the time.
    pub(crate) split: Arc<OnceCell<(String, DateTime)>>,
}

impl Kinesis {
    pub(crate) fn at(url: &str) -> Self {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(retries())
            .timeout_config(timeouts())
            .build();
        Self {
            client: aws_sdk_kinesis::Client::from_conf(config),
            streams: Arc::default(),
            split: Arc::default(),
        }
    }

    /// A name that no other stream has.
    pub(crate) fn name(&self) -> String {
        format!("checked-{:03}", self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// A new ACTIVE stream.
    pub(crate) async fn stream(&self, shards: i32) -> Result<String, Failure> {
        let name = self.name();
        self.client
            .create_stream()
            .stream_name(&name)
            .shard_count(shards)
            .send()
            .await?;
        self.active(&name).await?;
        Ok(name)
    }

    /// Waits until a stream is ACTIVE.
    pub(crate) async fn active(&self, name: &str) -> Result<(), Failure> {
        eventually("the stream is ACTIVE", async || {
            Ok((self.status(name).await? == StreamStatus::Active).then_some(()))
        })
        .await
    }

    pub(crate) async fn status(&self, name: &str) -> Result<StreamStatus, Failure> {
        let answer = self.client.describe_stream_summary().stream_name(name).send().await?;
        Ok(answer.stream_description_summary.ok_or("no summary")?.stream_status)
    }

    pub(crate) async fn put(&self, name: &str, key: &str, data: &str) -> Result<PutRecordOutput, Failure> {
        let put = self
            .client
            .put_record()
            .stream_name(name)
            .partition_key(key)
            .data(Blob::new(data));
        Ok(put.send().await?)
    }

    /// Puts to the shard that has this hash key.
    pub(crate) async fn put_at(&self, name: &str, hash: u128, data: &str) -> Result<PutRecordOutput, Failure> {
        let put = self
            .client
            .put_record()
            .stream_name(name)
            .partition_key("k")
            .explicit_hash_key(hash.to_string());
        Ok(put.data(Blob::new(data)).send().await?)
    }

    /// All shards by number.
    pub(crate) async fn shards(&self, name: &str) -> Result<Vec<Shard>, Failure> {
        let answer = self.client.list_shards().stream_name(name).send().await?;
        let mut shards = answer.shards.unwrap_or_default();
        shards.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
        Ok(shards)
    }

    pub(crate) async fn iterator(&self, name: &str, shard: &str, kind: ShardIteratorType) -> Result<String, Failure> {
        let ask = self
            .client
            .get_shard_iterator()
            .stream_name(name)
            .shard_id(shard)
            .shard_iterator_type(kind);
        Ok(ask.send().await?.shard_iterator.ok_or("no iterator")?)
    }

    pub(crate) async fn get(&self, iterator: &str) -> Result<GetRecordsOutput, Failure> {
        Ok(self.client.get_records().shard_iterator(iterator).send().await?)
    }

    /// Reads on until a call gives nothing more; the last answer says whether the shard has ended.
    pub(crate) async fn drain(&self, mut iterator: String) -> Result<(Vec<Record>, GetRecordsOutput), Failure> {
        let mut records = Vec::new();
        loop {
            let mut answer = self.get(&iterator).await?;
            let read = std::mem::take(&mut answer.records);
            let done = read.is_empty();
            records.extend(read);
            if records.len() > 10_000 {
                return Err("more records than any check puts".into());
            }
            match &answer.next_shard_iterator {
                Some(next) if !done => iterator.clone_from(next),
                _ => return Ok((records, answer)),
            }
        }
    }

    /// The texts of a shard's records from the first one on.
    pub(crate) async fn texts(&self, name: &str, shard: &str) -> Result<Vec<String>, Failure> {
        let iterator = self.iterator(name, shard, ShardIteratorType::TrimHorizon).await?;
        Ok(self.drain(iterator).await?.0.iter().map(text).collect())
    }

    /// Splits a shard at a hash key and waits for the end of it.
    pub(crate) async fn split(&self, name: &str, shard: &str, at: u128) -> Result<(), Failure> {
        let split = self.client.split_shard().stream_name(name).shard_to_split(shard);
        split.new_starting_hash_key(at.to_string()).send().await?;
        self.active(name).await
    }

    pub(crate) async fn merge(&self, name: &str, lower: &str, upper: &str) -> Result<(), Failure> {
        let merge = self.client.merge_shards().stream_name(name).shard_to_merge(lower);
        merge.adjacent_shard_to_merge(upper).send().await?;
        self.active(name).await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        self.client.delete_stream().stream_name(name).send().await?;
        Ok(())
    }
}

pub(crate) fn text(record: &Record) -> String {
    String::from_utf8_lossy(record.data.as_ref()).into_owned()
}

/// First and last hash key.
pub(crate) fn range(shard: &Shard) -> (u128, u128) {
    let key = |text: &str| text.parse().expect("hash keys are decimal numbers");
    let range = shard.hash_key_range.as_ref().expect("a shard has a range");
    (key(&range.starting_hash_key), key(&range.ending_hash_key))
}

pub(crate) fn is_open(shard: &Shard) -> bool {
    shard
        .sequence_number_range
        .as_ref()
        .is_some_and(|range| range.ending_sequence_number.is_none())
}

/// DynamoDB at an endpoint.
#[derive(Clone)]
pub(crate) struct DynamoDb {
    pub(crate) client: aws_sdk_dynamodb::Client,
    tables: Arc<AtomicUsize>,
}

impl DynamoDb {
    pub(crate) fn at(url: &str) -> Self {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(retries())
            .timeout_config(timeouts())
            .build();
        Self {
            client: aws_sdk_dynamodb::Client::from_conf(config),
            tables: Arc::default(),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("checked-{:03}", self.tables.fetch_add(1, Ordering::Relaxed))
    }

    /// A new ACTIVE table with hash key `id`, and range key `at` (a number) if asked for.
    pub(crate) async fn table(&self, ranged: bool) -> Result<String, Failure> {
        let name = self.name();
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let attribute = |name: &str, kind| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(kind)
                .build()
        };
        let mut create = self
            .client
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key("id", KeyType::Hash)?)
            .attribute_definitions(attribute("id", ScalarAttributeType::S)?);
        if ranged {
            create = create
                .key_schema(key("at", KeyType::Range)?)
                .attribute_definitions(attribute("at", ScalarAttributeType::N)?);
        }
        create.send().await?;
        eventually("the table is ACTIVE", async || {
            let table = self.client.describe_table().table_name(&name).send().await?.table;
            Ok((table.and_then(|table| table.table_status) == Some(TableStatus::Active)).then_some(()))
        })
        .await?;
        Ok(name)
    }

    pub(crate) async fn put(
        &self,
        table: &str,
        item: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<(), Failure> {
        let mut put = self.client.put_item().table_name(table);
        for (name, value) in item {
            put = put.item(name, value);
        }
        put.send().await?;
        Ok(())
    }

    /// An item by its hash key, read consistently.
    pub(crate) async fn item(&self, table: &str, id: &str) -> Result<Option<Item>, Failure> {
        let get = self
            .client
            .get_item()
            .table_name(table)
            .key("id", s(id))
            .consistent_read(true);
        Ok(get.send().await?.item)
    }
}

pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
