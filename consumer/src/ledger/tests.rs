//! What is written when, against rows in memory that can fail.

use kinex_core::id::Epoch;

use super::*;

#[derive(Clone, Debug, Default)]
struct Memory {
    rows: Arc<Mutex<BTreeMap<String, String>>>,
    broken: Arc<Mutex<Option<FaultKind>>>,
    requests: Arc<Mutex<u32>>,
    /// Rows that the next request leaves unwritten.
    left: Arc<Mutex<BTreeSet<String>>>,
}

impl Memory {
    fn fail(&self, broken: Option<FaultKind>) {
        *self.broken.lock().unwrap() = broken;
    }

    fn term(&self, id: &str) -> Option<Term> {
        let rows = self.rows.lock().unwrap();
        rows.get(id).map(|body| serde_json::from_str(body).unwrap())
    }
}

impl Rows for Memory {
    const AT_ONCE: usize = 25;

    async fn put(&self, rows: &[(String, String)]) -> Result<BTreeSet<String>, Fault> {
        assert!((1..=Self::AT_ONCE).contains(&rows.len()));
        *self.requests.lock().unwrap() += 1;
        if let Some(kind) = *self.broken.lock().unwrap() {
            return Err(Fault {
                kind,
                request: "UpdateItem".to_owned(),
                message: "broken on purpose".to_owned(),
                source: None,
            });
        }
        let left = std::mem::take(&mut *self.left.lock().unwrap());
        let taken = rows.iter().filter(|(id, _)| !left.contains(id));
        self.rows.lock().unwrap().extend(taken.cloned());
        Ok(left)
    }

    async fn get(&self, id: &str) -> Result<Option<String>, Fault> {
        Ok(self.rows.lock().unwrap().get(id).cloned())
    }
}

fn term(epoch: u64, started_ms: u64) -> Term {
    Term::starting("s".into(), Epoch(epoch), "w".into(), "i".into(), started_ms)
}

fn header(n: u64) -> Header {
    Header {
        source: "run/1".to_owned(),
        lane: 0,
        n,
    }
}

#[tokio::test]
async fn a_row_holds_every_delivery_before_the_flush_and_is_written_once() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entry = ledger.begin(term(1, 0));
    entry.deliver(Some(&header(0)));
    entry.deliver(None);
    ledger.flush(&entry).await.unwrap();
    assert_eq!(memory.term("s/1").unwrap().delivered(), 2);
    memory.rows.lock().unwrap().clear();
    ledger.flush(&entry).await.unwrap();
    assert!(memory.term("s/1").is_none(), "nothing changed, so nothing is written");
    entry.deliver(Some(&header(1)));
    assert_eq!(ledger.close().await, 0);
    assert_eq!(memory.term("s/1").unwrap().delivered(), 3);
}

#[tokio::test]
async fn a_row_that_cannot_be_written_stays_to_be_written() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entry = ledger.begin(term(1, 0));
    memory.fail(Some(FaultKind::Unreachable));
    entry.end(TermEnd::Handed);
    assert!(ledger.flush(&entry).await.is_err());
    assert_eq!(ledger.close().await, 1);
    memory.fail(None);
    assert_eq!(ledger.close().await, 0);
    assert!(memory.term("s/1").unwrap().end.is_some());
}

#[tokio::test]
async fn a_lease_that_comes_back_in_the_same_epoch_goes_on_in_its_row() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entry = ledger.begin(term(1, 0));
    entry.deliver(Some(&header(0)));
    entry.end(TermEnd::Handed);
    ledger.flush(&entry).await.unwrap();
    let again = ledger.begin(term(1, 0));
    again.deliver(Some(&header(1)));
    ledger.flush(&again).await.unwrap();
    let row = memory.term("s/1").unwrap();
    assert_eq!((row.delivered(), row.repeats(), row.end), (2, 0, None));
}

#[tokio::test]
async fn the_time_unread_runs_from_the_end_of_the_term_before() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let mut before = term(4, 0);
    before.end = Some((1_000, TermEnd::Handed));
    let row = ("s/4".to_owned(), serde_json::to_string(&before).unwrap());
    memory.put(&[row]).await.unwrap();
    let unread = |epoch| {
        let ledger = ledger.clone();
        async move { ledger.unread_before(&term(epoch, 1_250)).await }
    };
    assert_eq!(unread(5).await, Some(Duration::from_millis(250)), "handed on");
    assert_eq!(unread(6).await, Some(Duration::from_millis(250)), "released and taken");
    assert_eq!(unread(7).await, None);
    assert_eq!(unread(0).await, None);
}

#[tokio::test]
async fn a_row_that_the_table_refuses_does_not_hold_its_shard_up() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entry = ledger.begin(term(1, 0));
    memory.fail(Some(FaultKind::Invalid));
    ledger.flush(&entry).await.unwrap();
    memory.fail(None);
    entry.deliver(None);
    ledger.flush(&entry).await.unwrap();
    assert_eq!(
        memory.term("s/1").unwrap().delivered(),
        1,
        "the next state is tried again"
    );
}

#[tokio::test]
async fn rows_of_many_leases_cost_one_request_in_a_period() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entries: Vec<_> = (0..20).map(|epoch| ledger.begin(term(epoch, 0))).collect();
    for n in 0..10 {
        for entry in &entries {
            entry.deliver(Some(&header(n)));
        }
        ledger.save(Duration::from_secs(1)).await;
    }
    assert_eq!(
        *memory.requests.lock().unwrap(),
        10,
        "one for each period, whatever the number of rows"
    );
    assert!((0..20).all(|epoch| memory.term(&format!("s/{epoch}")).unwrap().delivered() == 10));
}

#[tokio::test]
async fn leases_that_are_handed_on_together_share_a_request() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let entries: Vec<_> = (0..20).map(|epoch| ledger.begin(term(epoch, 0))).collect();
    for entry in &entries {
        entry.end(TermEnd::Handed);
    }
    for entry in &entries {
        ledger.flush(entry).await.unwrap();
    }
    assert_eq!(*memory.requests.lock().unwrap(), 1);
    assert!((0..20).all(|epoch| memory.term(&format!("s/{epoch}")).unwrap().end.is_some()));
}

#[tokio::test]
async fn row_that_a_request_left_out_is_written_by_the_next_one() {
    let memory = Memory::default();
    let ledger = Ledger::new(memory.clone(), Meters::default());
    let (one, other) = (ledger.begin(term(1, 0)), ledger.begin(term(2, 0)));
    memory.left.lock().unwrap().insert("s/2".to_owned());
    ledger.flush(&one).await.unwrap();
    assert!(memory.term("s/2").is_none() && other.dirty() && !one.dirty());
    memory.left.lock().unwrap().insert("s/2".to_owned());
    assert_eq!(ledger.flush(&other).await.unwrap_err().kind, FaultKind::Throttled);
    assert_eq!(ledger.close().await, 0);
    assert!(memory.term("s/2").is_some());
}
