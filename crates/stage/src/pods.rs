//! What a shell knows of its processes, and what an experiment is about.

use kinex_aws::Clients;
use kinex_core::experiment::Timestamp;
use kinex_core::id::{Incarnation, WorkerId};

/// The stream and the application of an experiment, and the way to them.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The clients.
    pub clients: Clients,
    /// The stream.
    pub stream: String,
    /// The application: the name of the lease table.
    pub application: String,
}

/// What the shell knows of one worker's process.
#[derive(Clone, Debug)]
pub struct PodFacts {
    /// The worker.
    pub worker: WorkerId,
    /// The process start, once it is known; none while no process is there.
    pub incarnation: Option<Incarnation>,
    /// Since when it is stopped.
    pub frozen: Option<Timestamp>,
    /// Whether a process is there.
    pub running: bool,
    /// Whether it says that it is ready, or is taken to be where nobody asks it.
    pub ready: bool,
}
