//! Who decides, when several operators are there. Client required.
//!
//! The Lease keeps two operators from working at the same time for long; that they do no harm while they do is the
//! work of the status' precondition.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The name of the Lease, in the operator's own namespace.
const LEASE: &str = "kinex-operator";
/// Seconds after which the Lease of a silent operator is taken over.
const LASTING: u64 = 15;
/// Seconds before that at which it is renewed.
const EARLIER: u64 = 8;
/// How long giving the Lease back may take at the end.
const RELEASE: Duration = Duration::from_secs(3);

/// A place in the queue for the Lease.
pub(crate) struct Candidate {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Candidate {
    /// Stands for election under this name.
    ///
    /// # Errors
    /// When the Lease can neither be read nor created.
    pub(crate) async fn stand(client: Client, namespace: &str, identity: &str) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(LASTING)
            .with_grace(EARLIER)
            .with_field_manager("kinex/leader")
            .build()
            .await?;
        let (leads, task) = manager.watch().await;
        Ok(Self { leads, task })
    }

    /// Returns when this operator leads.
    pub(crate) async fn elected(&mut self) {
        // The sender lives as long as the task, which ends only when we drop the receiver.
        let _ = self.leads.wait_for(|leads| *leads).await;
    }

    /// Returns when this operator leads no more.
    pub(crate) async fn lost(&mut self) {
        let _ = self.leads.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that the next one need not wait for it to run out.
    pub(crate) async fn resign(self) {
        let Self { leads, task } = self;
        drop(leads);
        match tokio::time::timeout(RELEASE, task).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the Lease could not be given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the election ended badly"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }
}
