//! Proof of death: who knows that a process has ended writes it into its row, and nobody waits for its silence.

use kinex_core::lease::Process;
use kinex_core::worker::WorkerWrite;
use kinex_kcl::ports::LeaseStore;

/// Proofs that are not written yet.
#[derive(Debug, Default)]
pub struct Witness {
    unproven: Vec<Process>,
}

impl Witness {
    /// The process is known to have ended: its parent reaped it, or the kubelet did. A suspicion must not come here.
    pub fn saw(&mut self, process: Process) {
        if !self.unproven.contains(&process) {
            self.unproven.push(process);
        }
    }

    /// Writes what is not written yet; what fails is kept for the next call, and so is what a call that is given up in
    /// the middle has not come to.
    pub async fn testify(&mut self, store: &impl LeaseStore) {
        for process in self.unproven.clone() {
            let row = store.worker(&process.worker).await;
            let needless = matches!(&row, Ok(row) if row.as_ref().is_none_or(|row| row.incarnation != process.incarnation || row.gone()));
            let end = WorkerWrite::End {
                process: process.clone(),
            };
            // A refusal says that another process has the row by now; only a fault is worth another try.
            if needless || (row.is_ok() && store.write_worker(&end).await.is_ok()) {
                self.unproven.retain(|unproven| *unproven != process);
            }
        }
    }
}
