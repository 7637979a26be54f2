//! Reading a stream.

use kinex_core::id::ShardId;
use kinex_core::shard_map::Shard;
use kinex_kcl::ports::{ReadBatch, ReadFrom, ShardIterator, StreamReader};

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// One stream, for reading.
///
/// The first listing remembers which stream it is (ARN and creation time); once a stream of the same name takes its
/// place, every later listing is `Missing`.
#[derive(Clone, Debug)]
pub struct Reader {
    stream: String,
}

impl Reader {
    pub(crate) fn new(_clients: &Clients, stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
        }
    }
}

impl StreamReader for Reader {
    async fn shards(&self) -> Result<Vec<Shard>, Fault> {
        unbuilt(&self.stream)
    }

    async fn iterator(&self, _shard: &ShardId, _from: &ReadFrom) -> Result<ShardIterator, Fault> {
        unbuilt(&self.stream)
    }

    async fn read(&self, _at: &ShardIterator, _max: usize) -> Result<ReadBatch, Fault> {
        unbuilt(&self.stream)
    }
}
