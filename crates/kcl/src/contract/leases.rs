//! Lease rows: every write on every row, and reads.

use kinex_core::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Fence, Lease, LeaseWrite, Position, Process, Refused, Seen};
use kinex_core::member::Written;

use super::StoreBench;
use crate::ports::LeaseStore;

/// What the model says the answer is.
fn expected(write: &LeaseWrite, row: Option<&Lease>) -> (Written<Lease>, Option<Lease>) {
    match write.apply(row) {
        Ok(after) => (Written::Done(after.clone()), after),
        Err(Refused(row)) => {
            let row = row.map(|row| *row);
            (Written::Refused(row.clone()), row)
        }
    }
}

pub(super) async fn every_write_on_every_row(bench: &impl StoreBench) {
    let store = bench.empty().await;
    let mut number = 0;
    for row in rows() {
        for write in writes() {
            number += 1;
            let key = ShardId::from(format!("shardId-{number:012}"));
            let row = row.clone().map(|row| Lease {
                key: key.clone(),
                ..row
            });
            let write = with_key(write, &key);
            if let Some(row) = &row {
                let created = store.write_lease(&LeaseWrite::Create(Box::new(row.clone()))).await;
                assert_eq!(
                    created.expect("create"),
                    Written::Done(Some(row.clone())),
                    "create {row:#?}"
                );
            }
            let (answer, after) = expected(&write, row.as_ref());
            let found = store.write_lease(&write).await.expect("write");
            assert_eq!(found, answer, "the answer to {write:#?}\non {row:#?}");
            let found = store.lease(&key).await.expect("read");
            assert_eq!(found, after, "the row after {write:#?}\non {row:#?}");
        }
    }
}

pub(super) async fn unknown_attributes_survive(bench: &impl StoreBench) {
    let store = bench.empty().await;
    let key = ShardId::from("shardId-000000000000");
    let row = Lease {
        key: key.clone(),
        ..owned()
    };
    store
        .write_lease(&LeaseWrite::Create(Box::new(row.clone())))
        .await
        .expect("create");
    if !bench.scribble(&store, &key).await {
        return;
    }
    let mut row = row;
    for write in [
        LeaseWrite::Renew {
            key: key.clone(),
            by: me(),
        },
        checkpoint(&key, me(), at(SEQUENCE + 9, 0)),
        LeaseWrite::Ask {
            key: key.clone(),
            from: me().worker,
            to: other(),
            epoch: Epoch(5),
        },
        LeaseWrite::Extend {
            key: key.clone(),
            by: me(),
        },
        LeaseWrite::Yield {
            key: key.clone(),
            by: me(),
            checkpoint: Some(at(SEQUENCE + 10, 1)),
        },
    ] {
        row = write.apply(Some(&row)).expect("the model allows it").expect("a row");
        let found = store.write_lease(&write).await.expect("write");
        assert_eq!(found, Written::Done(Some(row.clone())), "{write:#?}");
        assert!(
            bench.scribbled(&store, &key).await,
            "{} lost an unknown attribute",
            write.kind()
        );
    }
}

/// The sequence number of the catalogue's rows.
const SEQUENCE: u128 = 49_590_338_271_490_256_608_559_692_538_361_571_095;

/// More than a page of DynamoDB (1 MB), put in out of order.
pub(super) async fn a_scan_has_every_row_in_order(bench: &impl StoreBench) {
    const ROWS: usize = 160;
    let store = bench.empty().await;
    let mut expected = Vec::new();
    for index in 0..ROWS {
        let number = index * 37 % ROWS;
        let mut row = Lease::unowned(
            ShardId::from(format!("shardId-{number:012}")),
            Checkpoint::TrimHorizon,
            Epoch(1),
        );
        row.children = (0..400)
            .map(|child| ShardId::from(format!("shardId-{:012}", 1_000 + child)))
            .collect();
        store
            .write_lease(&LeaseWrite::Create(Box::new(row.clone())))
            .await
            .expect("create");
        expected.push(row);
    }
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    let scan = store.leases().await.expect("scan");
    assert_eq!(scan.unreadable, [], "every row can be read");
    assert_eq!(scan.leases.len(), ROWS);
    assert!(scan.leases == expected, "the rows are complete and in order");
    assert_eq!(store.lease(&ShardId::from("shardId-none")).await.expect("read"), None);
}

fn me() -> Fence {
    Fence {
        worker: WorkerId::from("worker-0"),
        incarnation: Incarnation::from("inc-0"),
        epoch: Epoch(5),
    }
}

fn other() -> Process {
    Process {
        worker: WorkerId::from("worker-1"),
        incarnation: Incarnation::from("inc-1"),
    }
}

fn third() -> Process {
    Process {
        worker: WorkerId::from("worker-2"),
        incarnation: Incarnation::from("inc-2"),
    }
}

fn at(sequence: u128, sub: u64) -> Checkpoint {
    Checkpoint::At(Position {
        sequence: SequenceNumber::from(sequence),
        sub,
    })
}

fn checkpoint(key: &ShardId, by: Fence, checkpoint: Checkpoint) -> LeaseWrite {
    LeaseWrite::Checkpoint {
        key: key.clone(),
        by,
        checkpoint,
        children: [].into(),
    }
}

fn unowned() -> Lease {
    Lease::unowned(ShardId::from("-"), Checkpoint::Latest, Epoch(5))
}

fn owned() -> Lease {
    Lease {
        owner: Some(me().worker),
        incarnation: Some(me().incarnation),
        counter: 17,
        checkpoint: at(SEQUENCE, 3),
        owner_switches: 2,
        parents: [ShardId::from("shardId-a"), ShardId::from("shardId-b")].into(),
        hash_range: Some(HashRange::FULL),
        ..unowned()
    }
}

fn handing_over() -> Lease {
    Lease {
        owner: Some(other().worker),
        checkpoint_owner: Some(me().worker),
        next_incarnation: Some(other().incarnation),
        ..owned()
    }
}

/// The catalogue of rows; the key is put in later.
fn rows() -> Vec<Option<Lease>> {
    let by_other = Lease {
        owner: Some(other().worker),
        incarnation: Some(other().incarnation),
        ..owned()
    };
    let finished = Lease {
        checkpoint: Checkpoint::ShardEnd,
        children: [ShardId::from("shardId-c"), ShardId::from("shardId-d")].into(),
        ..owned()
    };
    let reborn = Lease {
        incarnation: Some(Incarnation::from("inc-before")),
        ..owned()
    };
    let starting = [
        Checkpoint::TrimHorizon,
        Checkpoint::Latest,
        Checkpoint::AtTimestamp,
        Checkpoint::Since(1_700_000_000_000),
    ]
    .map(|checkpoint| Lease { checkpoint, ..owned() });
    // Its owner's name and process, and yet somebody else delivers.
    let not_yet = Lease {
        checkpoint_owner: Some(other().worker),
        ..owned()
    };
    let moved_on = Lease {
        epoch: Epoch(6),
        ..owned()
    };
    let from_java = Lease {
        incarnation: None,
        hash_range: None,
        checkpoint: Checkpoint::AtTimestamp,
        ..owned()
    };
    let rows = [
        unowned(),
        owned(),
        handing_over(),
        by_other,
        finished,
        reborn,
        moved_on,
        not_yet,
        from_java,
    ];
    [None]
        .into_iter()
        .chain(rows.into_iter().chain(starting).map(Some))
        .collect()
}

/// The catalogue of writes: those that fit one of the rows, and those that miss one by a single column.
fn writes() -> Vec<LeaseWrite> {
    let key = || ShardId::from("-");
    let mut writes = vec![
        LeaseWrite::Create(Box::new(unowned())),
        LeaseWrite::Create(Box::new(handing_over())),
    ];
    for seen in [unowned().seen(), owned().seen(), handing_over().seen()] {
        let late = Seen {
            counter: seen.counter + 1,
            ..seen.clone()
        };
        let earlier = Seen {
            epoch: Epoch(4),
            ..seen.clone()
        };
        let from_another = Seen {
            checkpoint_owner: Some(third().worker),
            ..seen.clone()
        };
        let for_another = Seen {
            next_incarnation: Some(third().incarnation),
            ..seen.clone()
        };
        for seen in [seen, late, earlier, from_another, for_another] {
            writes.push(LeaseWrite::Take {
                key: key(),
                to: third(),
                seen,
            });
        }
    }
    for epoch in [Epoch(5), Epoch(4)] {
        let from = me().worker;
        let gone = other().incarnation;
        writes.push(LeaseWrite::Ask {
            key: key(),
            from: from.clone(),
            to: other(),
            epoch,
        });
        writes.push(LeaseWrite::AskOver {
            key: key(),
            from,
            to: third(),
            gone,
            epoch,
        });
        writes.push(LeaseWrite::Delete { key: key(), epoch });
    }
    let stranger = Fence {
        incarnation: Incarnation::from("inc-stranger"),
        ..me()
    };
    for by in [me(), stranger] {
        let gone = |text: &str| Incarnation::from(text);
        writes.push(LeaseWrite::Reclaim {
            key: key(),
            by: by.clone(),
            gone: gone("inc-1"),
        });
        writes.push(LeaseWrite::Reclaim {
            key: key(),
            by: by.clone(),
            gone: gone("inc-9"),
        });
        writes.push(LeaseWrite::Renew {
            key: key(),
            by: by.clone(),
        });
        writes.push(LeaseWrite::Extend {
            key: key(),
            by: by.clone(),
        });
        let progresses = [
            // Forward, the same again, and back: fewer digits, a smaller number, an earlier place inside the record.
            at(SEQUENCE + 1, 0),
            at(SEQUENCE * 5, 0),
            at(SEQUENCE, 4),
            at(SEQUENCE, 3),
            at(51, 7),
            at(SEQUENCE - 1, 9),
            at(SEQUENCE, 2),
            Checkpoint::TrimHorizon,
            Checkpoint::Latest,
            Checkpoint::AtTimestamp,
            Checkpoint::Since(1_700_000_000_123),
        ];
        let last = progresses.iter().cloned().chain([Checkpoint::ShardEnd]).map(Some);
        for last in last.chain([None]) {
            writes.push(LeaseWrite::Yield {
                key: key(),
                by: by.clone(),
                checkpoint: last.clone(),
            });
            writes.push(LeaseWrite::Release {
                key: key(),
                by: by.clone(),
                checkpoint: last,
            });
        }
        for progress in progresses {
            writes.push(checkpoint(&key(), by.clone(), progress));
        }
        writes.push(LeaseWrite::Checkpoint {
            key: key(),
            by,
            checkpoint: Checkpoint::ShardEnd,
            children: [ShardId::from("shardId-d"), ShardId::from("shardId-e")].into(),
        });
    }
    writes
}

fn with_key(mut write: LeaseWrite, to: &ShardId) -> LeaseWrite {
    match &mut write {
        LeaseWrite::Create(lease) => lease.key = to.clone(),
        LeaseWrite::Take { key, .. }
        | LeaseWrite::Ask { key, .. }
        | LeaseWrite::AskOver { key, .. }
        | LeaseWrite::Reclaim { key, .. }
        | LeaseWrite::Renew { key, .. }
        | LeaseWrite::Extend { key, .. }
        | LeaseWrite::Yield { key, .. }
        | LeaseWrite::Release { key, .. }
        | LeaseWrite::Checkpoint { key, .. }
        | LeaseWrite::Delete { key, .. } => *key = to.clone(),
    }
    write
}
