//! A set of numbers as ranges.

use serde::{Deserialize, Serialize};

/// A set of `u64`, kept as sorted ranges that neither overlap nor touch; `[[0,41],[43,60]]` in JSON.
///
/// Equal sets are equal values, however they came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>")]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// How many numbers are in the set.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (first, last)| {
            sum.saturating_add((last - first).saturating_add(1))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The greatest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }

    /// The ranges, both ends included, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether the number is in the set.
    pub fn contains(&self, n: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < n);
        self.0.get(at).is_some_and(|(first, _)| *first <= n)
    }

    /// Adds a number; `false` when it was there.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        self.add(n, n);
        true
    }

    /// Adds `first..=last`; nothing when `last < first`.
    pub fn add(&mut self, first: u64, last: u64) {
        if last < first {
            return;
        }
        // Every range that overlaps or touches the new one melts into it.
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let merged = self.0[from..to]
            .iter()
            .fold((first, last), |(a, b), (start, end)| (a.min(*start), b.max(*end)));
        self.0.splice(from..to, [merged]);
    }

    /// Adds every number of the other set.
    pub fn union(&mut self, other: &Self) {
        for (first, last) in other.iter() {
            self.add(first, last);
        }
    }

    /// The numbers that the other set has not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for (mut first, last) in self.iter() {
            while holes.next_if(|(_, end)| *end < first).is_some() {}
            let mut done = false;
            while let Some((start, end)) = holes.peek().filter(|(start, _)| *start <= last) {
                if *start > first {
                    left.push((first, start - 1));
                }
                if *end >= last {
                    done = true;
                    break;
                }
                first = end + 1;
                holes.next();
            }
            if !done {
                left.push((first, last));
            }
        }
        Self(left)
    }
}

impl From<Vec<(u64, u64)>> for Ranges {
    /// Takes ranges in any order, overlapping or not; one that ends before it begins is empty.
    fn from(ranges: Vec<(u64, u64)>) -> Self {
        let mut set = Self::default();
        for (first, last) in ranges {
            set.add(first, last);
        }
        set
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = Self::default();
        for n in numbers {
            set.insert(n);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(set: &Ranges) -> BTreeSet<u64> {
        set.iter().flat_map(|(first, last)| first..=last).collect()
    }

    fn check(build: &[(u64, u64)], expected: &str) {
        let set = Ranges::from(build.to_vec());
        assert_eq!(serde_json::to_string(&set).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Ranges>(expected).unwrap(), set);
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        check(&[], "[]");
        check(&[(5, 5)], "[[5,5]]");
        check(&[(5, 5), (6, 6)], "[[5,6]]");
        check(&[(6, 6), (4, 4), (5, 5)], "[[4,6]]");
        check(&[(0, 1), (3, 4), (10, 12)], "[[0,1],[3,4],[10,12]]");
        check(&[(0, 1), (3, 4), (10, 12), (1, 10)], "[[0,12]]");
        check(&[(3, 2)], "[]");
        check(
            &[(u64::MAX, u64::MAX), (0, 0)],
            "[[0,0],[18446744073709551615,18446744073709551615]]",
        );
    }

    fn some_ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec(
            (0..60_u64, 0..8_u64).prop_map(|(first, more)| (first, first + more)),
            0..12,
        )
    }

    fn model(ranges: &[(u64, u64)]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    proptest! {
        #[test]
        fn union_and_difference_are_those_of_sets(a in some_ranges(), b in some_ranges()) {
            let (left, right) = (Ranges::from(a.clone()), Ranges::from(b.clone()));
            let mut both = left.clone();
            both.union(&right);
            prop_assert_eq!(numbers(&both), model(&a).union(&model(&b)).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(both.count() as usize, numbers(&both).len());
            let less = left.without(&right);
            prop_assert_eq!(numbers(&less), model(&a).difference(&model(&b)).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(Ranges::from(less.iter().collect::<Vec<_>>()), less);
        }

        #[test]
        fn the_order_of_additions_does_not_matter(a in some_ranges(), b in some_ranges()) {
            let there: Ranges = a.iter().chain(&b).copied().collect::<Vec<_>>().into();
            let back: Ranges = b.iter().rev().chain(a.iter().rev()).chain(&a).copied().collect::<Vec<_>>().into();
            prop_assert_eq!(there, back);
        }

        #[test]
        fn insert_says_whether_the_number_was_new(ns in prop::collection::vec(0..40_u64, 0..60)) {
            let (mut set, mut seen) = (Ranges::default(), BTreeSet::new());
            for n in ns {
                prop_assert_eq!(set.insert(n), seen.insert(n));
                prop_assert_eq!(set.last(), seen.last().copied());
                prop_assert!(set.contains(n));
            }
            prop_assert_eq!(numbers(&set), seen);
        }
    }
}
