//! Leases of closing shards beside those of their children.

use proptest::prelude::*;

use super::*;

/// `lasting` and `closing` read together, the second with every lease closing.
fn beside(lasting: &str, closing: &str) -> View {
    let mut view = fleet(lasting);
    let start = view.leases.len();
    let others = fleet(closing).leases.into_iter().enumerate();
    view.leases.extend(others.map(|(nth, lease)| Placed {
        closing: true,
        ..placed(start + nth, lease.owner)
    }));
    view
}

fn only(view: &View, closing: bool) -> View {
    let mut view = view.clone();
    view.leases.retain(|lease| lease.closing == closing);
    view
}

fn check(lasting: &str, closing: &str, expected: &str) {
    let view = beside(lasting, closing);
    let plan = plan(&view, &Policy::default());
    let done = after(&view, &plan.moves);
    let text = format!(
        "{} + {} moves {}",
        shown(&only(&done, false)),
        shown(&only(&done, true)),
        plan.moves_of_live()
    );
    assert_eq!(text, expected, "from {lasting} and {closing}");
}

#[test]
fn children_are_dealt_as_if_their_parents_were_gone() {
    check(
        "a:3 b:4 c:3 -:20",
        "a:4 b:3 c:3",
        "a:10 b:10 c:10 + a:4 b:3 c:3 moves 0",
    );
    check("a:6 b:7 c:6 -:2", "a:1", "a:7 b:7 c:7 + a:1 b:0 c:0 moves 0");
}

#[test]
fn closing_shards_with_much_left_to_read_are_shared_too() {
    check("a:10 b:10 c:0", "a:5 b:5", "a:7 b:7 c:6 + a:3 b:3 c:4 moves 10");
    check("a:2 b:2", "-:3", "a:2 b:2 + a:1 b:2 moves 0");
}

proptest! {
    #[test]
    fn both_kinds_together_are_even_and_a_plan_of_its_result_changes_nothing(
        lasting in prop::collection::vec(0_usize..12, 1..8),
        closing in prop::collection::vec(0_usize..12, 1..8),
        orphans in (0_usize..9, 0_usize..9),
    ) {
        let text = |counts: &[usize], orphans: usize| {
            let held = (0..8).map(|nth| format!("w{nth}:{}", counts.get(nth).unwrap_or(&0)));
            held.chain([format!("-:{orphans}")]).collect::<Vec<_>>().join(" ")
        };
        let view = beside(&text(&lasting, orphans.0), &text(&closing, orphans.1));
        let done = after(&view, &plan(&view, &Policy::default()).moves);
        for view in [only(&done, false), only(&done, true), done.clone()] {
            let mut counts = counts(&view);
            prop_assert_eq!(counts.pop(), Some(0));
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
        prop_assert_eq!(plan(&done, &Policy::default()).moves, vec![]);
    }
}
