//! Good aggregates, bad ones, and garbage.

use kinex_core::id::SequenceNumber;
use proptest::prelude::*;

use super::*;

/// A user record as a test writes it: index of the partition key, index of the hash key, payload.
type Sub = (u64, Option<u64>, Vec<u8>);

#[derive(Clone, PartialEq, prost::Message)]
struct Written {
    #[prost(string, repeated, tag = "1")]
    keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<SubRecord>,
}

fn seal(message: &[u8]) -> Vec<u8> {
    let digest = Md5::digest(message);
    [&MAGIC[..], message, &digest[..]].concat()
}

fn aggregate(keys: &[&str], hash_keys: &[&str], records: &[Sub]) -> Vec<u8> {
    let message = Written {
        keys: keys.iter().map(ToString::to_string).collect(),
        hash_keys: hash_keys.iter().map(ToString::to_string).collect(),
        records: records
            .iter()
            .map(|(key, hash_key, data)| SubRecord {
                partition_key_index: *key,
                explicit_hash_key_index: *hash_key,
                data: data.clone().into(),
            })
            .collect(),
    };
    seal(&message.encode_to_vec())
}

fn raw(data: Vec<u8>) -> RawRecord {
    RawRecord {
        sequence: SequenceNumber::from(7),
        partition_key: Some("outer".to_owned()),
        data: data.into(),
        arrived_millis: 0,
    }
}

/// `key=payload` of each user record, or the reason why the record is delivered as it is.
fn check(data: Vec<u8>, expected: Result<&[&str], &str>) {
    let (records, bad) = UserRecords::of(raw(data.clone()));
    let records: Vec<_> = records.collect();
    match expected {
        Ok(expected) => {
            assert_eq!(bad, None);
            let line = |record: &Record| {
                format!(
                    "{}={}",
                    record.partition_key.as_deref().unwrap_or("-"),
                    String::from_utf8_lossy(&record.data)
                )
            };
            assert_eq!(records.iter().map(line).collect::<Vec<_>>(), expected);
            let subs: Vec<_> = records.iter().map(|record| record.position.sub).collect();
            assert_eq!(subs, (0..records.len() as u64).collect::<Vec<_>>());
        }
        Err(reason) => {
            let bad = bad.map(|bad| bad.to_string()).unwrap_or_default();
            assert!(bad.contains(reason), "{bad:?} does not say {reason:?}");
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].data, data);
            assert!(!records[0].aggregated);
        }
    }
}

#[test]
fn a_plain_record_is_its_own_user_record() {
    check(b"hello".to_vec(), Ok(&["outer=hello"]));
    check(Vec::new(), Ok(&["outer="]));
}

#[test]
fn user_records_come_out_in_order_with_their_keys() {
    let data = aggregate(
        &["a", "b"],
        &["12"],
        &[
            (0, None, b"1".to_vec()),
            (1, Some(0), b"2".to_vec()),
            (0, None, b"".to_vec()),
        ],
    );
    check(data, Ok(&["a=1", "b=2", "a="]));
}

#[test]
fn a_wrong_digest_means_that_it_is_no_aggregate() {
    let mut data = aggregate(&["a"], &[], &[(0, None, b"1".to_vec())]);
    let last = data.len() - 1;
    data[last] ^= 1;
    let (records, bad) = UserRecords::of(raw(data.clone()));
    assert_eq!(bad, None);
    assert_eq!(
        records.map(|record| record.data).collect::<Vec<_>>(),
        [Bytes::from(data)]
    );
}

#[test]
fn a_bad_aggregate_is_delivered_as_it_is_with_the_reason() {
    check(
        aggregate(&["a"], &[], &[(1, None, b"1".to_vec())]),
        Err("partition key 1 of 1"),
    );
    check(
        aggregate(&["a"], &[], &[(0, Some(3), b"1".to_vec())]),
        Err("explicit hash key 3 of 0"),
    );
    check(
        aggregate(&["a"], &["x"], &[(0, Some(0), b"1".to_vec())]),
        Err("explicit hash key 0"),
    );
    check(aggregate(&["a"], &[], &[]), Err("no user record"));
    check(seal(&[0x0a, 0x05, b'a']), Err("longer than the message"));
    check(seal(&[0x0a, 0x01, 0xff]), Err("not UTF-8"));
    check(seal(&[0x1a, 0x00]), Err("no partition key index"));
    check(seal(&[0x0a, 0x00, 0x1a, 0x02, 0x08, 0x00]), Err("no data"));
    check(seal(&[0x08, 0x01]), Err("wire type"));
}

#[test]
fn tables_may_follow_the_records_that_use_them() {
    let sub = SubRecord {
        partition_key_index: 0,
        explicit_hash_key_index: None,
        data: Bytes::from_static(b"1"),
    };
    let mut message = vec![0x1a];
    sub.encode_length_delimited(&mut message).unwrap();
    message.extend([0x0a, 0x01, b'k', 0x28, 0x01]);
    check(seal(&message), Ok(&["k=1"]));
}

#[test]
fn a_user_record_belongs_where_its_hash_key_says() {
    let data = aggregate(
        &["a"],
        &["5", "15"],
        &[(0, Some(0), vec![]), (0, Some(1), vec![]), (0, None, vec![])],
    );
    let range = HashRange { start: 0, end: 10 };
    let records = UserRecords::of(raw(data)).0;
    assert_eq!(records.outside(range), 2, "of three");
    assert_eq!(records.outside(HashRange::FULL), 0);
    assert_eq!(records.count(), 3, "asking takes none out");
    let plain = UserRecords::of(raw(b"x".to_vec())).0;
    assert_eq!(plain.outside(range), 0);
}

#[test]
fn half_a_million_empty_user_records_come_out_one_by_one() {
    let mut message = vec![0x0a, 0x00];
    while message.len() < 1 << 20 {
        message.extend([0x1a, 0x04, 0x08, 0x00, 0x1a, 0x00]);
    }
    let expected = (message.len() - 2) / 6;
    let (records, bad) = UserRecords::of(raw(seal(&message)));
    assert_eq!(bad, None);
    assert_eq!(records.aggregate.as_ref().unwrap().keys.starts.len(), 1);
    assert_eq!(records.count(), expected);
}

proptest! {
    #[test]
    fn garbage_is_delivered_and_never_panics(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let data = seal(&message);
        let (records, bad) = UserRecords::of(raw(data));
        let records: Vec<_> = records.collect();
        prop_assert!(!records.is_empty());
        prop_assert!(bad.is_none() || records.len() == 1);
    }

    #[test]
    fn what_was_aggregated_comes_out_again(
        keys in proptest::collection::vec("[a-zé]{0,8}", 1..5),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..20)), 1..30),
    ) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let subs: Vec<Sub> = picks.iter().map(|(pick, data)| (pick.index(keys.len()) as u64, None, data.clone())).collect();
        let (records, bad) = UserRecords::of(raw(aggregate(&keys, &[], &subs)));
        prop_assert_eq!(bad, None);
        let found: Vec<_> = records.map(|record| (record.partition_key.as_deref().unwrap_or("-").to_owned(), record.data.to_vec())).collect();
        let expected: Vec<_> = subs.iter().map(|(key, _, data)| (keys[*key as usize].to_owned(), data.clone())).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_damaged_message_never_loses_a_record(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let good = aggregate(&["a", "b"], &["7"], &[(0, None, b"one".to_vec()), (1, Some(0), b"two".to_vec())]);
        let mut message = good[MAGIC.len()..good.len() - DIGEST].to_vec();
        for (at, with) in flips {
            let at = at.index(message.len());
            message[at] = with;
        }
        let (records, _) = UserRecords::of(raw(seal(&message)));
        prop_assert!(records.count() >= 1);
    }
}
