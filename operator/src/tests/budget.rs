//! What the experiments of one operator take together of what an account of AWS allows.

use std::time::{Duration, Instant};

use kinex_core::experiment::{Replicas, Timestamp};
use kinex_stage::{Observer, Subject};

use super::lab::{LIMIT, Lab, endpoints};

/// DescribeStreamSummary may be called so often by all who only look.
const LOOKS_A_SECOND: f64 = 5.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_experiments_share_a_quarter_of_the_calls_that_describe_streams() {
    let endpoints = endpoints().await;
    let clients = Lab::clients(&endpoints).await;
    let mut observers = Vec::new();
    for number in 0..12 {
        let name = format!("budget-{number}");
        clients.streams().create(&name, 1).await.unwrap();
        let subject = Subject {
            clients: clients.clone(),
            stream: name.clone(),
            application: name,
        };
        observers.push(Observer::new(subject, Duration::from_secs(10), "run".to_owned(), true));
    }
    let described = || {
        let counts = clients.requests().snapshot().into_iter();
        let described = counts.filter(|count| count.api == "DescribeStreamSummary");
        described.map(|count| count.count).sum::<u64>()
    };
    let (before, began) = (described(), Instant::now());
    let mut looks = 0;
    // However slow the machine is: three looks at least, and twice as many as the account would allow.
    while looks < 3 * 12 || f64::from(looks) < 2.0 * (12.0 + LOOKS_A_SECOND * began.elapsed().as_secs_f64()) {
        assert!(began.elapsed() < LIMIT, "only {looks} looks within {LIMIT:?}");
        for observer in &mut observers {
            let world = observer.look(&[], Replicas::default(), Timestamp(looks.into())).await;
            assert_eq!(world.unseen, None);
            assert_eq!(world.stream.shards.len(), 1);
            looks += 1;
        }
    }
    // Each its first, and from then on all of them together.
    let allowed = 12.0 + 1.0 + LOOKS_A_SECOND * began.elapsed().as_secs_f64();
    let asked = described() - before;
    assert!(
        asked as f64 <= allowed,
        "{asked} calls for {looks} looks, {allowed} allowed"
    );
}
