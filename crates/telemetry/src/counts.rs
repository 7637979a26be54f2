//! Counters that somebody else keeps: read at the moment of a scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// A count with the values of its labels, in the order of their names.
pub type Count<const N: usize> = ([String; N], u64);

/// A family of counters whose values `read` gives. To be registered with `Registry::register_collector`.
pub struct Counts<const N: usize, F> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    read: F,
}

impl<const N: usize, F> Counts<N, F>
where
    F: Fn() -> Vec<Count<N>> + Send + Sync + 'static,
{
    /// `name` without `_total`, which is appended. `read` gives each set of label values once.
    pub fn new(name: &'static str, help: &'static str, labels: [&'static str; N], read: F) -> Self {
        Self {
            name,
            help,
            labels,
            read,
        }
    }
}

impl<const N: usize, F> fmt::Debug for Counts<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<const N: usize, F> Collector for Counts<N, F>
where
    F: Fn() -> Vec<Count<N>> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = (self.read)();
        if counts.is_empty() {
            return Ok(());
        }
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (values, count) in counts {
            let labels: Vec<(&str, &str)> = self
                .labels
                .iter()
                .zip(&values)
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Metrics;

    #[test]
    fn a_scrape_reads_the_counts_anew() {
        let count = Arc::new(AtomicU64::new(0));
        let mut metrics = Metrics::new("test", "1");
        let shared = Arc::clone(&count);
        let read = move || match shared.load(Ordering::Relaxed) {
            0 => Vec::new(),
            count => vec![(["Get\"Records".to_owned(), "ok".to_owned()], count)],
        };
        let counts = Counts::new("requests", "Requests", ["api", "outcome"], read);
        metrics.registry().register_collector(Box::new(counts));
        assert!(!metrics.encode().contains("requests"), "nothing counted, nothing said");
        count.store(3, Ordering::Relaxed);
        let text = metrics.encode();
        assert!(
            text.contains("kinex_requests_total{api=\"Get\\\"Records\",outcome=\"ok\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn what_all_metrics_of_a_program_have_in_common_is_on_each() {
        let metrics = &mut Metrics::labelled("test", "1", [("worker", "w-0".to_owned())]);
        let read = || vec![(["x".to_owned()], 1)];
        metrics
            .registry()
            .register_collector(Box::new(Counts::new("things", "Things", ["kind"], read)));
        let text = metrics.encode();
        assert!(
            text.contains("kinex_things_total{worker=\"w-0\",kind=\"x\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("kinex_build_info{worker=\"w-0\","), "{text}");
    }
}
