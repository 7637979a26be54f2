//! What the plan promises.

use super::*;
use crate::id::{ShardId, WorkerId};

#[test]
fn two_new_workers_even_out_thirty_leases() {
    let plan = plan(&fleet("a:10 b:10 c:10 d:0 e:0"), &Policy::default());
    assert_eq!(plan.quota.values().copied().collect::<Vec<_>>(), [6; 5]);
    assert_eq!(plan.moves_of_live(), 12);
}

/// `a:10 b:0 -:3`: a has ten leases, b none, three are orphans.
fn fleet(text: &str) -> View {
    let mut view = View::default();
    for part in text.split_whitespace() {
        let (name, count) = part.split_once(':').unwrap();
        if name != "-" {
            view.workers.push(Candidate {
                id: WorkerId::from(name),
                hard_cap: None,
            });
        }
        for _ in 0..count.parse::<usize>().unwrap() {
            let nth = view.leases.len();
            view.leases.push(Placed {
                key: ShardId::from(format!("s{nth:03}")),
                owner: (name != "-").then(|| WorkerId::from(name)),
                pending: false,
                hash_start: nth as u128,
            });
        }
    }
    view
}
