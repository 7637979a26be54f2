//! Cases that a person can check.

use super::*;

fn check_with(policy: Policy, before: &str, expected: &str) {
    let view = fleet(before);
    let plan = plan(&view, &policy);
    let mut text = format!("{} moves {}", shown(&after(&view, &plan.moves)), plan.moves_of_live());
    if let Some(exceeded) = plan.cap_exceeded {
        let what = if exceeded.unowned { "unowned" } else { "above the caps" };
        text += &format!(", {} {what}", exceeded.by);
    }
    assert_eq!(text, expected, "from {before}");
}

fn check(before: &str, expected: &str) {
    check_with(Policy::default(), before, expected);
}

#[test]
fn leases_even_out_with_the_fewest_moves() {
    check("a:0 b:0 c:0 -:20", "a:6 b:7 c:7 moves 0");
    check("a:7 b:7 c:6 -:10", "a:10 b:10 c:10 moves 0");
    check("a:10 b:10 c:10 d:0 e:0", "a:6 b:6 c:6 d:6 e:6 moves 12");
    check("a:6 b:6 c:6 d:6 -:6", "a:7 b:8 c:8 d:7 moves 0");
    check("a:20 b:0 c:0", "a:7 b:7 c:6 moves 13");
    check("a:3", "a:3 moves 0");
    check("a:1 b:1 c:1 d:0", "a:1 b:1 c:1 d:0 moves 0");
    check("a:0 b:0 c:0", "a:0 b:0 c:0 moves 0");
}

#[test]
fn the_larger_quotas_go_to_the_larger_holders() {
    check("a:6 b:7 c:8 d:0 -:1", "a:5 b:6 c:6 d:5 moves 4");
    check("a:6 b:7 c:7", "a:6 b:7 c:7 moves 0");
    check("a:5 b:7 c:8", "a:6 b:7 c:7 moves 1");
}

#[test]
fn a_fleet_grown_by_one_uses_the_new_worker() {
    // With ceil(L/W) as both bounds, 256 leases on 41 -> 42 workers leave the new one idle.
    let names: Vec<String> = (0..41)
        .map(|nth| format!("w{nth:02}:{}", if nth < 10 { 7 } else { 6 }))
        .collect();
    let view = fleet(&format!("{} w41:0", names.join(" ")));
    let plan = plan(&view, &Policy::default());
    assert_eq!(plan.quota[&"w41".into()], 6);
    assert_eq!(plan.moves_of_live(), 6);
}

#[test]
fn without_workers_nobody_has_anything() {
    check("-:3", "-:3 moves 0");
    let mut view = fleet("a:2");
    view.workers.clear();
    let plan = plan(&view, &Policy::default());
    assert!(plan.moves.is_empty() && plan.target.values().all(Option::is_none));
}

#[test]
fn a_hard_cap_is_kept_when_the_others_have_room() {
    check("a:0/2 b:0 c:0 -:12", "a:2 b:5 c:5 moves 0");
    check("a:6/2 b:6", "a:2 b:10 moves 4");
    check("a:0/0 b:0 -:4", "a:0 b:4 moves 0");
}

#[test]
fn cover_exceeds_the_caps_evenly() {
    let policy = Policy {
        hard_cap: Some(10),
        ..Policy::default()
    };
    check_with(policy, "a:0 b:0 -:20", "a:10 b:10 moves 0");
    check_with(policy, "a:0 b:0 -:24", "a:12 b:12 moves 0, 4 above the caps");
    check_with(policy, "a:10/2 b:10", "a:6 b:14 moves 4, 8 above the caps");
}

#[test]
fn strict_leaves_the_lowest_hash_keys_unowned() {
    let policy = Policy {
        hard_cap: Some(10),
        cap_policy: CapPolicy::Strict,
        ..Policy::default()
    };
    check_with(policy, "a:0 b:0 -:24", "a:10 b:10 -:4 moves 0, 4 unowned");
    let plan = plan(&fleet("a:0 b:0 -:24"), &policy);
    let spilled: Vec<_> = plan.spilled().map(ShardId::as_str).collect();
    assert_eq!(spilled, ["s000", "s001", "s002", "s003"]);
    check_with(policy, "a:10 b:10 -:4", "a:10 b:10 -:4 moves 0, 4 unowned");
    check_with(policy, "a:12 b:12", "a:10 b:10 -:4 moves 4, 4 unowned");
    check_with(policy, "a:10 b:10 c:0 -:4", "a:8 b:8 c:8 moves 4");
}

#[test]
fn rounding_down_strands_shards_as_the_guide_does() {
    let policy = Policy {
        hard_cap: Some(10),
        cap_rounding: CapRounding::Floor,
        ..Policy::default()
    };
    check_with(policy, "a:0 b:0 c:0 -:20", "a:6 b:6 c:6 -:2 moves 0, 2 unowned");
    check_with(policy, "a:6 b:6 c:6 -:12", "a:10 b:10 c:10 moves 0");
    check_with(policy, "a:0 b:0 c:0 -:2", "a:0 b:1 c:1 moves 0");
}

#[test]
fn a_lease_that_is_asked_for_is_not_asked_for_again_unless_it_must() {
    let mut view = fleet("a:4 b:0");
    for lease in &mut view.leases[..2] {
        lease.pending = true;
    }
    let moved: Vec<_> = plan(&view, &Policy::default())
        .moves
        .iter()
        .map(|a_move| a_move.key.clone())
        .collect();
    assert_eq!(moved, [ShardId::from("s002"), ShardId::from("s003")]);
}

#[test]
fn orphans_of_one_worker_spread_over_all_the_others() {
    let view = fleet("a:6 b:6 c:6 d:6 -:6");
    let coming: Vec<usize> = ["a", "b", "c", "d"]
        .map(|name| plan(&view, &Policy::default()).coming_to(&name.into()).count())
        .to_vec();
    assert_eq!(coming.iter().max().unwrap() - coming.iter().min().unwrap(), 1);
}

#[test]
fn an_owner_that_does_not_share_counts_as_nobody() {
    let mut view = fleet("a:2 b:2 c:2");
    view.workers.retain(|worker| worker.id.as_str() != "c");
    let plan = plan(&view, &Policy::default());
    assert_eq!(plan.moves_of_live(), 0);
    assert_eq!(plan.moves.len(), 2);
}

#[test]
fn ten_thousand_leases_on_a_thousand_workers_are_quick() {
    // In a release build this takes some 10 ms; the limit here is for a debug build on a busy machine.
    let workers: Vec<String> = (0..1_000)
        .map(|nth| format!("w{nth:04}:{}", if nth < 900 { 11 } else { 0 }))
        .collect();
    let view = fleet(&format!("{} -:100", workers.join(" ")));
    let plan = plan(&view, &Policy::default());
    assert_eq!(plan.target.len(), 10_000);
    assert_eq!(plan.moves_of_live(), 900);
}
