//! What the plan and the thieves promise.

mod cases;
mod closing;
mod exhaustive;
mod random;
mod stealing;
mod what_if;

use super::*;
use crate::id::{ShardId, WorkerId};

/// `a:10 b:0/6 -:3`: a has ten leases, b none and a cap of six, three are orphans.
fn fleet(text: &str) -> View {
    let mut view = View::default();
    for part in text.split_whitespace() {
        let (name, figures) = part.split_once(':').unwrap();
        let (count, cap) = figures
            .split_once('/')
            .map_or((figures, None), |(count, cap)| (count, Some(cap)));
        if name != "-" {
            view.workers.push(Candidate {
                id: WorkerId::from(name),
                hard_cap: cap.map(|cap| cap.parse().unwrap()),
            });
        }
        for _ in 0..count.parse::<usize>().unwrap() {
            view.leases
                .push(placed(view.leases.len(), (name != "-").then(|| WorkerId::from(name))));
        }
    }
    view
}

fn placed(nth: usize, owner: Option<WorkerId>) -> Placed {
    Placed {
        key: ShardId::from(format!("s{nth:03}")),
        owner,
        pending: false,
        hash_start: nth as u128,
        closing: false,
    }
}

/// The view in which these moves are done.
fn after<'a>(view: &View, moves: impl IntoIterator<Item = &'a Move>) -> View {
    let mut view = view.clone();
    for a_move in moves {
        let lease = view.leases.iter_mut().find(|lease| lease.key == a_move.key).unwrap();
        lease.owner.clone_from(&a_move.to);
    }
    view
}

/// How many leases each worker has, in the view's order; the last figure: nobody's.
fn counts(view: &View) -> Vec<usize> {
    let of = |owner: Option<&WorkerId>| view.leases.iter().filter(|lease| lease.owner.as_ref() == owner).count();
    view.workers
        .iter()
        .map(|worker| of(Some(&worker.id)))
        .chain([of(None)])
        .collect()
}

/// `a:6 b:6 -:2`, as [`fleet`] reads it.
fn shown(view: &View) -> String {
    let counts = counts(view);
    let names = view.workers.iter().map(|worker| worker.id.as_str()).chain(["-"]);
    let parts = names.zip(counts).filter(|(name, count)| *name != "-" || *count > 0);
    parts
        .map(|(name, count)| format!("{name}:{count}"))
        .collect::<Vec<_>>()
        .join(" ")
}
