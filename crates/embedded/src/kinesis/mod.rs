//! Kinesis: a faithful model of streams, shards and records behind the wire protocol.

use std::time::Duration;

use crate::front::Answer;

/// What the model is told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: bool,
    pub(crate) shard_limit: usize,
    pub(crate) create_delay: Duration,
    pub(crate) reshard_delay: Duration,
}

/// All streams of one endpoint.
#[derive(Debug)]
pub(crate) struct Streams(Settings);

impl Streams {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(settings)
    }

    pub(crate) fn call(&self, name: &str, _body: &[u8], _now: u64) -> Answer {
        Answer::error(
            400,
            "UnknownOperationException",
            &format!("{name} is not served by this endpoint"),
        )
    }
}
