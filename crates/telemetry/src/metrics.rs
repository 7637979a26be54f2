//! The owner of the registry.

use std::borrow::Cow;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The registry of a program. Every name gets the prefix `kinex_`.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// A registry with `kinex_build_info{version, program}` in it.
    pub fn new(program: &str, version: &str) -> Self {
        Self::labelled(program, version, [])
    }

    /// The same, with labels that every metric of the program has: whose they are, never anything that changes.
    pub fn labelled(program: &str, version: &str, common: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let common = common
            .into_iter()
            .map(|(name, value)| (Cow::from(name), Cow::from(value)));
        let mut registry = Registry::with_prefix_and_labels("kinex", common);
        let labels = vec![
            ("version".to_owned(), version.to_owned()),
            ("program".to_owned(), program.to_owned()),
        ];
        // The library appends `_info` to the name.
        registry.register("build", "Which program this is", Info::new(labels));
        Self(registry)
    }

    /// Where modules register their metrics, before the registry is served.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.0
    }

    /// The OpenMetrics text of everything.
    pub fn encode(&self) -> String {
        let mut body = String::new();
        text::encode(&mut body, &self.0).expect("writing to a string cannot fail");
        body
    }
}
