//! Starting and stopping the endpoints.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connection::{CuttableListener, Cutter};
use crate::dynamodb::Tables;
use crate::faults::Faults;
use crate::front::{Front, Serves, router};
use crate::kinesis::Streams;
use crate::requests::Requests;

/// Requests in flight get this long to finish once the endpoints are told to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where Kinesis listens, and DynamoDB too with `one_port`. Port 0 takes any free one. An address that others can
    /// reach (such as 0.0.0.0 inside a container) serves both APIs to everyone, but counters and faults to loopback only.
    pub addr: SocketAddr,
    /// The port of DynamoDB on the same address, unless `one_port`. 0 takes any free one.
    pub dynamodb_port: u16,
    /// Both services on `addr`, told apart by `X-Amz-Target`.
    pub one_port: bool,
    /// Enforce the rates that Kinesis enforces: per shard 1 MiB/s and 1,000 records/s written, 5 calls/s and 2 MiB/s
    /// read; per API the calls per second.
    pub limits: bool,
    /// The time that Kinesis sees.
    pub clock: Clock,
    /// Open shards of all streams together that Kinesis allows.
    pub shard_limit: usize,
    /// Memory that the records of one stream may take, in bytes. Beyond it the oldest ones go before their retention
    /// ends, with a warning in the log; a reader goes on at the oldest record that is left.
    pub stream_bytes_max: u64,
    /// How long a stream is CREATING or DELETING.
    pub create_delay: Duration,
    /// How long a stream is UPDATING for one split, merge or update of the shard count.
    pub reshard_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            dynamodb_port: 0,
            one_port: false,
            limits: true,
            clock: Clock::System,
            // More than the 500 of a new account: experiments with 1,000 shards need no request for a quota here.
            shard_limit: 2_000,
            // Half a day of 50 records/s of 100 bytes; an endpoint that runs for weeks must not eat the machine.
            stream_bytes_max: 512 << 20,
            // Long enough to be seen by a poll every 10 ms, short enough for tests.
            create_delay: Duration::from_millis(50),
            reshard_delay: Duration::from_millis(50),
        }
    }
}

/// Why the endpoints could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something else listens on the port.
    #[error(
        "port {} of {} is in use: stop the program that listens there, or choose another port (0 takes any free one)",
        .addr.port(), .addr.ip()
    )]
    PortInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: choose an address of this machine, such as 127.0.0.1")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The in-memory tables could not be opened.
    #[error("cannot open the in-memory tables: {0}")]
    Tables(String),
}

/// Running endpoints. Dropping them stops them without waiting.
#[derive(Debug)]
pub struct Endpoints {
    front: Arc<Front>,
    kinesis: SocketAddr,
    dynamodb: SocketAddr,
    stopping: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Endpoints {
    /// Starts both services on the current tokio runtime. They answer as soon as this returns.
    ///
    /// # Errors
    /// When an address cannot be listened on; nothing keeps running then.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            addr,
            dynamodb_port,
            one_port,
            limits,
            clock,
            shard_limit,
            stream_bytes_max,
            create_delay,
            reshard_delay,
        } = options;
        let tables = Tables::open().map_err(StartError::Tables)?;
        let streams = Streams::new(crate::kinesis::Settings {
            limits,
            shard_limit,
            stream_bytes_max,
            create_delay,
            reshard_delay,
        });
        let first = listen(addr).await?;
        let second = if one_port {
            None
        } else {
            Some(listen(SocketAddr::new(addr.ip(), dynamodb_port)).await?)
        };
        let stopping = CancellationToken::new();
        let front = Arc::new(Front::new(tables, streams, clock, stopping.clone()));
        let kinesis = local_addr(&first, addr)?;
        let dynamodb = second
            .as_ref()
            .map_or(Ok(kinesis), |listener| local_addr(listener, addr))?;
        let serves = if one_port { Serves::Both } else { Serves::Kinesis };
        let mut servers = vec![serve(first, &front, serves)];
        servers.extend(second.map(|listener| serve(listener, &front, Serves::DynamoDb)));
        Ok(Self {
            front,
            kinesis,
            dynamodb,
            stopping,
            servers,
        })
    }

    /// The endpoint URL of Kinesis.
    pub fn kinesis_url(&self) -> String {
        format!("http://{}", self.kinesis)
    }

    /// The endpoint URL of DynamoDB; the same as that of Kinesis when both share a port.
    pub fn dynamodb_url(&self) -> String {
        format!("http://{}", self.dynamodb)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Requests {
        self.front.counter.snapshot()
    }

    /// The fault plan; empty at the start.
    pub fn faults(&self) -> Faults {
        self.front.faults.clone()
    }

    /// Forgets the records that a stream of this name has now, as if their retention had passed. Returns how many they were;
    /// `None` when there is no such stream.
    pub fn trim(&self, stream: &str) -> Option<usize> {
        self.front.streams.trim(stream)
    }

    /// Stops: no new connections; requests in flight are answered, for 2 s at most. Streams and tables are gone.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        for mut server in std::mem::take(&mut self.servers) {
            if tokio::time::timeout(STOP_GRACE, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { addr },
        _ => StartError::Listen { addr, source },
    })
}

fn local_addr(listener: &TcpListener, addr: SocketAddr) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|source| StartError::Listen { addr, source })
}

fn serve(listener: TcpListener, front: &Arc<Front>, serves: Serves) -> JoinHandle<()> {
    let app = router(Arc::clone(front), serves).into_make_service_with_connect_info::<Cutter>();
    let stopping = front.stopping.clone();
    let listener = CuttableListener {
        listener,
        faults: front.faults.clone(),
        serves,
    };
    tokio::spawn(async move {
        let server = axum::serve(listener, app);
        let ended = server.with_graceful_shutdown(stopping.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "endpoint ended");
        }
    })
}
