//! What `make bench` measures beside the strategies: speed, requests and memory, each as a figure and as a ratio of two.
//!
//! No figure is held against a threshold: a machine that is busy or slow says nothing about Kinex. The ratios travel
//! better from machine to machine than the figures do.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made is no result")]

mod fleet;
mod speed;

/// Two figures of one kind.
struct Row {
    what: &'static str,
    unit: &'static str,
    first: (&'static str, f64),
    second: (&'static str, f64),
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!(
        "{:<34}{:<26}{:>10}   {:<26}{:>10}   ratio",
        "", "first", "", "second", ""
    );
    let measures: [fn() -> Vec<Row>; 3] = [speed::plans, speed::endpoints, fleet::rows];
    for measure in measures {
        for Row {
            what,
            unit,
            first,
            second,
        } in measure()
        {
            println!(
                "{:<34}{:<26}{:>10.2}   {:<26}{:>10.2}   {:.2}",
                format!("{what}, {unit}"),
                first.0,
                first.1,
                second.0,
                second.1,
                second.1 / first.1
            );
        }
    }
}
