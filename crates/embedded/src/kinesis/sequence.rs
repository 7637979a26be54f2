//! Sequence numbers: 56 decimal digits, as Kinesis has them, made of a position and the number of the shard.
//!
//! A position is drawn from one counter per stream, also when a shard is closed or opened. So numbers grow along every
//! lineage, and a child's numbers start after its parent's end. The counter starts at the stream's creation time, so that
//! a stream that is made again under the same name does not repeat numbers.

/// A place in the stream's one order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// Before every record.
    pub(super) const START: Self = Self(0);

    /// The first position of a stream created then: room for a million events per millisecond of its life.
    pub(super) const fn at_creation(created_millis: u64) -> Self {
        Self(created_millis.saturating_mul(1_000_000).saturating_add(1))
    }

    /// The position right after this one.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The sequence number at this position in that shard.
    pub(super) fn number(self, shard: u32) -> String {
        format!("49{:020}{:024}{shard:010}", self.0, 0)
    }
}

/// The position and the shard of a sequence number; `None` when we did not give it out.
pub(super) fn parse(number: &str) -> Option<(Position, u32)> {
    let digits = number.len() == 56 && number.bytes().all(|b| b.is_ascii_digit());
    if !digits || !number.starts_with("49") {
        return None;
    }
    let position = Position(number[2..22].parse().ok()?);
    let shard = number[46..].parse().ok()?;
    (position.number(shard) == number).then_some((position, shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_56_digits_and_is_read_back() {
        for (position, shard) in [(0, 0), (1_790_000_000_000_000_001, 7), (u64::MAX, u32::MAX)] {
            let number = Position(position).number(shard);
            assert_eq!(number.len(), 56);
            assert_eq!(parse(&number), Some((Position(position), shard)));
        }
    }

    #[test]
    fn a_later_position_has_a_greater_number_in_any_shard() {
        assert!(Position(9).number(u32::MAX) < Position(10).number(0));
    }

    #[test]
    fn foreign_numbers_are_not_read() {
        for number in [
            "",
            "0",
            "49",
            &"4".repeat(56),
            &Position(1).number(1).replace("49", "50"),
            &"x".repeat(56),
        ] {
            assert_eq!(parse(number), None, "{number}");
        }
        let mut tampered = Position(1).number(1);
        tampered.replace_range(30..31, "1");
        assert_eq!(parse(&tampered), None);
    }
}
