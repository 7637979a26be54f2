//! The loop against a stream that answers as it is told.

use std::collections::BTreeMap;

use kinex_core::audit::Ranges;
use kinex_core::id::{SequenceNumber, ShardId};

use super::*;

/// What the stream does with the n-th request.
type Script = fn(request: usize, entry: usize) -> Answer;

#[derive(Clone, Copy)]
enum Answer {
    Take,
    Refuse,
    /// The whole request fails.
    Fail(FaultKind),
    /// The records are taken, and the answer is lost.
    Swallow,
}

struct Scripted {
    script: Script,
    requests: Mutex<usize>,
    taken: Arc<Mutex<BTreeMap<Lane, Vec<u64>>>>,
}

impl Stream for Scripted {
    async fn put(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Fault> {
        let request = {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            *requests - 1
        };
        let fail = |kind| Fault {
            kind,
            request: "PutRecords".to_owned(),
            message: "scripted".to_owned(),
            source: None,
        };
        let mut outcomes = Vec::new();
        let mut lost = false;
        for (at, entry) in entries.iter().enumerate() {
            let header = Header::parse(&entry.data).unwrap();
            let take = || {
                self.taken
                    .lock()
                    .unwrap()
                    .entry(header.lane)
                    .or_default()
                    .push(header.n)
            };
            outcomes.push(match (self.script)(request, at) {
                Answer::Fail(kind) => return Err(fail(kind)),
                Answer::Refuse => Outcome::Refused {
                    throttled: true,
                    message: String::new(),
                },
                Answer::Take => {
                    take();
                    Outcome::Taken {
                        shard: ShardId::from("shard"),
                        sequence: SequenceNumber::from(1),
                    }
                }
                Answer::Swallow => {
                    take();
                    lost = true;
                    continue;
                }
            });
        }
        if lost {
            Err(fail(FaultKind::Unreachable))
        } else {
            Ok(outcomes)
        }
    }
}

/// Sends 60 records over 5 lanes: what the stream has, and what the sheet says.
async fn check(script: Script) -> (BTreeMap<Lane, Vec<u64>>, ProducerRow) {
    let taken = Arc::new(Mutex::new(BTreeMap::new()));
    let sheet = Sheet::new(ProducerRow::starting("run/1".to_owned(), 0));
    let (_rate, rates) = watch::channel(1_000.0);
    let sending = Sending {
        stream: Scripted {
            script,
            requests: Mutex::new(0),
            taken: Arc::clone(&taken),
        },
        source: "run/1".to_owned(),
        lanes: 5,
        record_bytes: 100,
        most: 500,
        records: 60,
        rate: rates,
        sheet: sheet.clone(),
        meters: Meters::default(),
    };
    sending.run(CancellationToken::new()).await.unwrap();
    let taken = taken.lock().unwrap().clone();
    for (lane, numbers) in &taken {
        assert!(numbers.is_sorted(), "lane {lane}: {numbers:?}");
        let distinct: Ranges = numbers.iter().copied().collect();
        assert_eq!(
            distinct.count() as usize,
            numbers.len(),
            "lane {lane}: a number was put twice: {numbers:?}"
        );
    }
    (taken, sheet.row())
}

fn acknowledged(row: &ProducerRow) -> BTreeMap<Lane, Ranges> {
    row.lanes
        .iter()
        .map(|(lane, sent)| (*lane, sent.acknowledged.clone()))
        .collect()
}

fn as_ranges(taken: BTreeMap<Lane, Vec<u64>>) -> BTreeMap<Lane, Ranges> {
    taken
        .into_iter()
        .map(|(lane, numbers)| (lane, numbers.into_iter().collect()))
        .collect()
}

#[tokio::test]
async fn every_number_is_acknowledged_when_all_goes_well() {
    let (taken, row) = check(|_, _| Answer::Take).await;
    assert_eq!(row.acknowledged(), 60);
    assert_eq!(as_ranges(taken), acknowledged(&row));
}

#[tokio::test]
async fn refused_records_are_sent_again_in_the_order_of_their_lane() {
    let (taken, row) = check(|request, entry| {
        if (request * 7 + entry * 3) % 5 < 2 {
            Answer::Refuse
        } else {
            Answer::Take
        }
    })
    .await;
    assert_eq!(row.acknowledged(), 60);
    assert_eq!(as_ranges(taken), acknowledged(&row));
}

#[tokio::test]
async fn a_throttled_request_is_sent_again() {
    let (taken, row) = check(|request, _| {
        if request < 3 {
            Answer::Fail(FaultKind::Throttled)
        } else {
            Answer::Take
        }
    })
    .await;
    assert_eq!(row.acknowledged(), 60);
    assert_eq!(as_ranges(taken), acknowledged(&row));
}

#[tokio::test]
async fn numbers_without_an_answer_are_uncertain_and_never_sent_again() {
    let (taken, row) = check(|request, _| match request {
        2 => Answer::Swallow,
        4 => Answer::Fail(FaultKind::Unreachable),
        _ => Answer::Take,
    })
    .await;
    let uncertain: u64 = row.lanes.values().map(|sent| sent.uncertain.count()).sum();
    assert!(uncertain > 0);
    assert_eq!(row.acknowledged() + uncertain, 60);
    let taken = as_ranges(taken);
    for (lane, sent) in &row.lanes {
        assert!(
            sent.acknowledged.without(&taken[lane]).is_empty(),
            "acknowledged is in the stream"
        );
        let more = taken[lane].without(&sent.acknowledged);
        assert!(
            more.without(&sent.uncertain).is_empty(),
            "what else is in the stream is uncertain"
        );
    }
}
