//! A rule of the fault plan: which requests it touches, and what it does to them.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::requests::{Api, Service};

/// Longest latency, in milliseconds: nobody waits for longer than an hour, and sums stay far from overflow.
const LATENCY_MAX: u64 = 3_600_000;

/// Which of the requests that match a rule it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum When {
    /// All of them.
    #[default]
    Always,
    /// The nth, counted from 1.
    Nth(u64),
    /// The nth, 2nth, 3nth, ...
    Every(u64),
    /// Each one with this probability, drawn from the seed and the request's number.
    Probability {
        /// 0 to 1.
        p: f64,
        /// Another seed, another choice.
        seed: u64,
    },
}

/// The link between client and endpoint, as a slow one behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// Bytes per second of request and response bodies, each connection by itself; `None` is as fast as loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bps: Option<NonZeroU64>,
    /// Milliseconds that a request and its response travel in all: half of them before the request is carried out, the
    /// rest before the response begins.
    #[serde(skip_serializing_if = "is_zero")]
    pub latency_millis: u64,
    /// The latency of each request lies this many milliseconds around `latency_millis`, evenly spread.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_millis: u64,
    /// Seed of the jitter: the same requests in the same order meet the same latencies.
    #[serde(skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// All connections share one line of `bps`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Link {
    /// Whether it slows anything down.
    fn is_slow(&self) -> bool {
        self.bps.is_some() || self.latency_millis > 0 || self.jitter_millis > 0
    }

    /// The latency of the nth request.
    pub(crate) fn latency(&self, seen: u64) -> Duration {
        let Self {
            latency_millis,
            jitter_millis,
            seed,
            ..
        } = *self;
        let spread = jitter_millis * 2 + 1;
        let drawn = mix(seed ^ mix(seen)) % spread;
        Duration::from_millis((latency_millis + drawn).saturating_sub(jitter_millis))
    }
}

/// A line of the plan: a link, a fault, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Rule {
    /// Whose requests.
    pub service: Service,
    /// The API's name; `*` means all.
    pub api: String,
    /// Only requests whose body contains this text, such as a worker's or a table's name.
    pub contains: Option<String>,
    /// Which of them.
    pub when: When,
    /// The rule is spent after this many requests.
    pub times: Option<u64>,
    /// How slowly they travel.
    pub link: Option<Link>,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// A rule as it stands in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    service: Service,
    api: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
    #[serde(default)]
    when: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(flatten)]
    link: Link,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    /// Whatever else it says.
    #[serde(flatten, skip_serializing)]
    unknown: BTreeMap<String, IgnoredAny>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TryFrom<Line> for Rule {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        let Line {
            service,
            api,
            contains,
            when,
            times,
            link,
            fault,
            unknown,
        } = line;
        if let Some(name) = unknown.keys().next() {
            return Err(format!("a rule has no field `{name}`"));
        }
        if link.latency_millis > LATENCY_MAX || link.jitter_millis > LATENCY_MAX {
            return Err(format!("`latencyMillis` and `jitterMillis` are {LATENCY_MAX} at most"));
        }
        let link = link.is_slow().then_some(link);
        if link.is_none() && fault.is_none() {
            return Err("a rule needs a `fault`, `bps` or `latencyMillis`".to_owned());
        }
        if let Some(fault) = &fault {
            fault.check()?;
        }
        if fault == Some(Fault::Silent) && (api != "*" || contains.is_some() || link.is_some()) {
            return Err(
                "the fault `silent` strikes connections, whose requests are not known yet: \
                 it takes the api `*`, no `contains` and no link"
                    .to_owned(),
            );
        }
        Ok(Self {
            service,
            api,
            contains,
            when,
            times,
            link,
            fault,
        })
    }
}

impl From<Rule> for Line {
    fn from(rule: Rule) -> Self {
        let Rule {
            service,
            api,
            contains,
            when,
            times,
            link,
            fault,
        } = rule;
        Self {
            service,
            api,
            contains,
            when,
            times,
            link: link.unwrap_or_default(),
            fault,
            unknown: BTreeMap::new(),
        }
    }
}

impl Rule {
    /// Every request to this API goes wrong.
    pub fn new(service: Service, api: impl Into<String>, fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::slow(service, api, None)
        }
    }

    /// Every request to this API travels over this link.
    pub fn over(service: Service, api: impl Into<String>, link: Link) -> Self {
        Self::slow(service, api, Some(link))
    }

    fn slow(service: Service, api: impl Into<String>, link: Option<Link>) -> Self {
        Self {
            service,
            api: api.into(),
            contains: None,
            when: When::Always,
            times: None,
            link,
            fault: None,
        }
    }

    /// Only requests whose body contains this text.
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    /// Only the nth matching request, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Only every nth matching request.
    pub fn every(mut self, n: u64) -> Self {
        self.when = When::Every(n);
        self
    }

    /// Each matching request with probability `p`.
    pub fn with_probability(mut self, p: f64, seed: u64) -> Self {
        self.when = When::Probability { p, seed };
        self
    }

    /// No more than this many requests.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    pub(super) fn matches(&self, api: &Api, body: &[u8]) -> bool {
        self.is_about(api)
            && self
                .contains
                .as_ref()
                .is_none_or(|text| contains(body, text.as_bytes()))
    }

    /// Whether every request to this API is touched, whatever its body.
    pub(super) fn is_unconditional(&self, api: &Api) -> bool {
        self.is_about(api) && self.contains.is_none() && self.when == When::Always && self.times.is_none()
    }

    fn is_about(&self, api: &Api) -> bool {
        self.service == api.service && (self.api == "*" || self.api == api.name)
    }

    pub(super) fn strikes(&self, seen: u64) -> bool {
        match self.when {
            When::Always => true,
            When::Nth(n) => seen == n,
            When::Every(n) => n > 0 && seen.is_multiple_of(n),
            // The top 53 bits make a uniform float in [0, 1).
            When::Probability { p, seed } => ((mix(seed ^ mix(seen)) >> 11) as f64) < p * (1u64 << 53) as f64,
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// SplitMix64's finalizer: spreads neighboring numbers over the whole range.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_around_the_latency_and_its_seed_repeats() {
        let link = |seed| Link {
            latency_millis: 200,
            jitter_millis: 50,
            seed,
            ..Link::default()
        };
        let drawn = |seed| {
            (1..=1_000)
                .map(|seen| link(seed).latency(seen).as_millis())
                .collect::<Vec<_>>()
        };
        assert!(drawn(7).iter().all(|millis| (150..=250).contains(millis)));
        assert!(drawn(7).contains(&150) && drawn(7).contains(&250));
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let wide = Link {
            jitter_millis: 500,
            ..link(7)
        };
        assert!((1..=1_000).all(|seen| wide.latency(seen).as_millis() <= 700));
    }

    #[test]
    fn a_rule_is_written_as_it_was_read() {
        for text in [
            r#"{"service":"kinesis","api":"*","when":"always","latencyMillis":200,"jitterMillis":50,"seed":7}"#,
            r#"{"service":"kinesis","api":"GetRecords","when":{"nth":2},"times":3,"bps":9,"shared":true,"fault":"throttle"}"#,
        ] {
            let rule: Rule = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&rule).unwrap(), text);
        }
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_the_reason() {
        let check = |text: &str, reason: &str| {
            let error = serde_json::from_str::<Rule>(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check(r#"{"service":"kinesis","api":"*"}"#, "needs a `fault`");
        check(r#"{"service":"kinesis","api":"*","bps":9,"bsp":9}"#, "no field `bsp`");
        check(r#"{"service":"kinesis","api":"*","bps":0}"#, "zero");
        check(r#"{"service":"kinesis","api":"*","latencyMillis":3600001}"#, "at most");
        check(
            r#"{"service":"kinesis","api":"GetRecords","fault":"silent"}"#,
            "the api `*`",
        );
        check(r#"{"service":"kinesis","api":"*","fault":{"error":{}}}"#, "`name`");
        check(
            r#"{"service":"kinesis","api":"*","fault":{"error":{"name":"X","status":99}}}"#,
            "200 to 599",
        );
        check(
            r#"{"service":"kinesis","api":"*","fault":{"error":{"name":"X","contentType":"a\nb"}}}"#,
            "contentType",
        );
    }
}
