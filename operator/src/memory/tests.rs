//! What is kept of a run: it comes back as it was, and it always fits.

use kinex_core::experiment::{Move, Timestamp};
use kinex_stage::report::recording::Reason;

use super::*;

fn kept(samples: u32, moves: u32) -> Kept {
    let mut kept = Kept::default();
    for number in 0..samples {
        kept.samples.push(Sample {
            seconds: f64::from(number),
            leases_per_worker: (0..5).map(|worker| (format!("x-consumer-{worker}"), 6)).collect(),
            ..Sample::default()
        });
    }
    for number in 0..moves {
        let change = Move {
            lease: format!("shardId-{number:012}").as_str().into(),
            from: Some("x-consumer-0".into()),
            to: Some("x-consumer-1".into()),
            at: Timestamp(i64::from(number)),
        };
        kept.memory.history.moves.push((change, Reason::HandOff));
    }
    kept
}

#[test]
fn what_is_kept_is_read_back_as_it_was() {
    let before = kept(3, 2);
    let after: Kept = serde_json::from_str(&before.text().unwrap()).unwrap();
    assert_eq!(after, before);
}

#[test]
fn what_is_kept_always_fits() {
    for (samples, moves) in [(20_000, 10), (10, 20_000), (20_000, 20_000)] {
        let text = kept(samples, moves).text().unwrap();
        assert!(
            text.len() <= BYTES_MAX,
            "{samples} samples, {moves} moves: {} bytes",
            text.len()
        );
        let back: Kept = serde_json::from_str(&text).unwrap();
        let newest = back.memory.history.moves.last().map(|(change, _)| change.at);
        assert_eq!(newest, Some(Timestamp(i64::from(moves) - 1)), "the newest moves stay");
        assert_eq!(back.samples.first().map(|sample| sample.seconds), Some(0.0));
    }
}
