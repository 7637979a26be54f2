//! The curve of the thieves.

use super::*;

/// One interval in which every worker looks at the same view; all steal at most one lease each.
fn interval(view: &View) -> View {
    let policy = Policy::default();
    let stolen: Vec<Move> = view
        .workers
        .iter()
        .filter_map(|worker| steal(view, &policy, &worker.id))
        .collect();
    let mut keys: Vec<_> = stolen.iter().map(|a_move| &a_move.key).collect();
    keys.dedup();
    assert_eq!(
        keys.len(),
        stolen.len(),
        "two thieves reached for the same lease: {stolen:?}"
    );
    after(view, &stolen)
}

fn check_curve(before: &str, expected: &str) {
    let mut view = fleet(before);
    let mut curve = Vec::new();
    loop {
        let next = interval(&view);
        if next == view {
            break;
        }
        view = next;
        curve.push(shown(&view));
    }
    assert_eq!(curve.join(" | "), expected);
}

#[test]
fn two_new_workers_steal_six_leases_each_one_per_interval() {
    check_curve(
        "a:10 b:10 c:10 d:0 e:0",
        "a:9 b:9 c:10 d:1 e:1 | a:8 b:9 c:9 d:2 e:2 | a:8 b:8 c:8 d:3 e:3 | a:7 b:7 c:8 d:4 e:4 | a:6 b:7 c:7 d:5 e:5 | \
         a:6 b:6 c:6 d:6 e:6",
    );
}

#[test]
fn a_thief_leaves_its_victim_at_least_its_own_share() {
    check_curve("a:2 b:0 c:0 d:0", "a:1 b:1 c:0 d:0");
    check_curve("a:7 b:7 c:6", "");
}

#[test]
fn nobody_steals_while_there_are_orphans() {
    let view = fleet("a:10 b:0 -:1");
    assert_eq!(steal(&view, &Policy::default(), &"b".into()), None);
    assert_eq!(adopt(&view, &Policy::default(), &"b".into()).len(), 1);
    assert_eq!(adopt(&view, &Policy::default(), &"a".into()).len(), 0);
}

#[test]
fn orphans_are_shared_at_once_and_only_up_to_the_caps() {
    let view = fleet("a:0 b:0 c:0 -:20");
    let policy = Policy {
        hard_cap: Some(6),
        ..Policy::default()
    };
    let adopted = ["a", "b", "c"].map(|name| adopt(&view, &policy, &name.into()).len());
    assert_eq!(adopted, [6, 6, 6]);
    let adopted = ["a", "b", "c"].map(|name| adopt(&view, &Policy::default(), &name.into()).len());
    assert_eq!(adopted, [7, 7, 6]);
}
