//! What becomes of the leases when a signal ends the process.
//!
//! A pod is ended in the same way whether it is scaled away or about to be started again. The operator, which sees how
//! many workers are wanted, writes the number into the fact row `control/replicas`; a worker whose ordinal is below it
//! will come back.

use std::time::Duration;

use kinex_aws::Facts;
use kinex_kcl::{Departure, WorkerId};
use serde::Deserialize;
use tracing::{info, warn};

/// How long the fact may take to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// How this worker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Always so.
    Always(Departure),
    /// Its leases wait so long for a worker that will come back, and go to the others at once when it is scaled away.
    ByOrdinal(Duration),
}

#[derive(Debug, Deserialize)]
struct Wanted {
    replicas: u32,
}

impl Leaving {
    /// How to leave now.
    pub(crate) async fn choose(self, worker: &WorkerId, facts: &Facts) -> Departure {
        let reserve = match self {
            Self::Always(departure) => return departure,
            Self::ByOrdinal(reserve) => reserve,
        };
        let wanted = match tokio::time::timeout(PATIENCE, facts.get("control", "replicas")).await {
            Ok(Ok(fact)) => fact.and_then(|body| serde_json::from_str::<Wanted>(&body).ok()),
            Ok(Err(error)) => {
                warn!(%error, "cannot tell whether this worker is scaled away: its leases wait for it");
                None
            }
            Err(_) => None,
        };
        let comes_back = comes_back(worker.as_str(), wanted.map(|wanted| wanted.replicas));
        info!(comes_back, "leaving");
        if comes_back {
            Departure::Reserve(reserve)
        } else {
            Departure::Release
        }
    }
}

/// Whether a worker of this name is wanted again. Where nobody says how many are, it is: rolling updates are the more
/// frequent case.
fn comes_back(worker: &str, wanted: Option<u32>) -> bool {
    let ordinal = worker
        .rsplit_once('-')
        .and_then(|(_, ordinal)| ordinal.parse::<u32>().ok());
    match (ordinal, wanted) {
        (Some(ordinal), Some(wanted)) => ordinal < wanted,
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::comes_back;

    #[test]
    fn a_worker_comes_back_while_its_ordinal_is_wanted() {
        let cases = [
            ("x-consumer-2", Some(3), true),
            ("x-consumer-3", Some(3), false),
            ("x-consumer-3", Some(0), false),
            ("x-consumer-3", None, true),
            ("x-consumer", Some(3), false),
            ("x-consumer", None, true),
        ];
        for (worker, wanted, expected) in cases {
            assert_eq!(comes_back(worker, wanted), expected, "{worker} {wanted:?}");
        }
    }
}
