//! The fault plan: which requests go wrong, and how.
//!
//! Rules are tried in their order. All delays of the rules that match add up; of the other faults the first one counts.
//! Everything is decided by counters and seeds, so that the same requests in the same order meet the same faults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::requests::{Api, Service};

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// The request is carried out late.
    Delay {
        /// By how much.
        millis: u64,
    },
    /// The request is carried out at once, and its answer is late.
    DelayReply {
        /// By how much.
        millis: u64,
    },
    /// Not carried out; the service's throttling error.
    Throttle,
    /// Not carried out; HTTP 500.
    ServerError,
    /// Carried out, and then HTTP 500.
    ServerErrorAfterCommit,
    /// Not carried out; the connection is closed without an answer.
    DropBeforeCommit,
    /// Carried out; the connection is closed without an answer.
    ReplyLost,
    /// Not carried out; the connection is reset (TCP RST).
    Reset,
    /// Not carried out and never answered; the connection stays open.
    BlackHole,
    /// Carried out and never answered; the connection stays open.
    BlackHoleAfterCommit,
    /// An eventually consistent read (one without `ConsistentRead: true`) gets the answer that the same request would have
    /// got when this fault last struck it; the first time it is answered as usual. Of Kinesis, `List*` and `Describe*`
    /// are such reads. No effect on anything else.
    StaleRead,
}

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

/// A line of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Whose requests.
    pub service: Service,
    /// The API's name; `*` means all.
    pub api: String,
    /// Only requests whose body contains this text, such as a worker's or a table's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Which of them.
    #[serde(default)]
    pub when: When,
    /// The rule is spent after this many faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// Every request to this API.
    pub fn new(service: Service, api: impl Into<String>, fault: Fault) -> Self {
        Self {
            service,
            api: api.into(),
            contains: None,
            when: When::Always,
            times: None,
            fault,
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

    /// No more than this many faults.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, api: &Api, body: &[u8]) -> bool {
        self.service == api.service
            && (self.api == "*" || self.api == api.name)
            && self
                .contains
                .as_ref()
                .is_none_or(|text| contains(body, text.as_bytes()))
    }

    fn strikes(&self, seen: u64) -> bool {
        match self.when {
            When::Always => true,
            When::Nth(n) => seen == n,
            When::Every(n) => n > 0 && seen.is_multiple_of(n),
            // The top 53 bits make a uniform float in [0, 1).
            When::Probability { p, seed } => ((mix(seed ^ mix(seen)) >> 11) as f64) < p * (1u64 << 53) as f64,
        }
    }
}

/// A rule of the plan with what it has done so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// Names the rule when it is to be removed.
    pub id: u64,
    /// The rule.
    pub rule: Rule,
    /// Requests that matched.
    pub seen: u64,
    /// Requests that went wrong.
    pub struck: u64,
}

/// The handle to the fault plan. Clones share the plan.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    next_id: u64,
    rules: Vec<Active>,
}

impl Faults {
    /// Adds a rule at the end of the plan and returns its id.
    pub fn add(&self, rule: Rule) -> u64 {
        self.locked(|plan| plan.add(rule))
    }

    /// Replaces the plan.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        self.locked(|plan| {
            plan.rules.clear();
            for rule in rules {
                plan.add(rule);
            }
        });
    }

    /// Removes a rule; says whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        self.locked(|plan| {
            let before = plan.rules.len();
            plan.rules.retain(|active| active.id != id);
            plan.rules.len() < before
        })
    }

    /// Removes all rules: from now on nothing goes wrong.
    pub fn clear(&self) {
        self.locked(|plan| plan.rules.clear());
    }

    /// The plan and what its rules have done.
    pub fn rules(&self) -> Vec<Active> {
        self.locked(|plan| plan.rules.clone())
    }

    /// What happens to this request.
    pub(crate) fn decide(&self, api: &Api, body: &[u8]) -> Fate {
        self.locked(|plan| plan.decide(api, body))
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Plan) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the plan says about one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) reply_delay: Duration,
    /// Anything but the two delays.
    pub(crate) fault: Option<Fault>,
}

impl Plan {
    fn add(&mut self, rule: Rule) -> u64 {
        self.next_id += 1;
        self.rules.push(Active {
            id: self.next_id,
            rule,
            seen: 0,
            struck: 0,
        });
        self.next_id
    }

    fn decide(&mut self, api: &Api, body: &[u8]) -> Fate {
        let mut fate = Fate::default();
        for active in &mut self.rules {
            let Active {
                id: _,
                rule,
                seen,
                struck,
            } = active;
            if rule.times.is_some_and(|times| *struck >= times) || !rule.matches(api, body) {
                continue;
            }
            *seen += 1;
            if !rule.strikes(*seen) {
                continue;
            }
            match rule.fault {
                Fault::Delay { millis } => fate.delay += Duration::from_millis(millis),
                Fault::DelayReply { millis } => fate.reply_delay += Duration::from_millis(millis),
                // Another fault came first: this rule has not struck.
                _ if fate.fault.is_some() => continue,
                fault => fate.fault = Some(fault),
            }
            *struck += 1;
        }
        fate
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// SplitMix64's finalizer: spreads neighbouring numbers over the whole range.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(rule: Rule, requests: usize) -> Vec<usize> {
        let faults = Faults::default();
        faults.add(rule);
        let api = Api {
            service: Service::DynamoDb,
            name: "UpdateItem".to_owned(),
        };
        (1..=requests)
            .filter(|_| faults.decide(&api, b"worker-3") != Fate::default())
            .collect()
    }

    fn throttle() -> Rule {
        Rule::new(Service::DynamoDb, "UpdateItem", Fault::Throttle)
    }

    #[test]
    fn a_rule_strikes_the_requests_that_it_names() {
        let check = |rule: Rule, expected: &[usize]| assert_eq!(struck(rule, 6), expected);
        check(throttle(), &[1, 2, 3, 4, 5, 6]);
        check(throttle().nth(2), &[2]);
        check(throttle().every(2), &[2, 4, 6]);
        check(throttle().times(3), &[1, 2, 3]);
        check(throttle().every(2).times(1), &[2]);
        check(throttle().containing("worker-3"), &[1, 2, 3, 4, 5, 6]);
        check(throttle().containing("worker-4"), &[]);
        check(
            Rule {
                api: "*".to_owned(),
                ..throttle()
            },
            &[1, 2, 3, 4, 5, 6],
        );
        check(
            Rule {
                api: "PutItem".to_owned(),
                ..throttle()
            },
            &[],
        );
        check(
            Rule {
                service: Service::Kinesis,
                ..throttle()
            },
            &[],
        );
        check(throttle().with_probability(0.0, 1), &[]);
        check(throttle().with_probability(1.0, 1), &[1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_probability_is_met_and_its_seed_repeats() {
        let hits = struck(throttle().with_probability(0.25, 7), 10_000);
        assert!((2_300..2_700).contains(&hits.len()), "{}", hits.len());
        assert_eq!(hits, struck(throttle().with_probability(0.25, 7), 10_000));
        assert_ne!(hits, struck(throttle().with_probability(0.25, 8), 10_000));
    }

    #[test]
    fn delays_add_up_and_the_first_other_fault_counts() {
        let faults = Faults::default();
        let rule = |fault| Rule::new(Service::Kinesis, "*", fault);
        faults.set([
            rule(Fault::Delay { millis: 5 }),
            rule(Fault::ReplyLost),
            rule(Fault::Delay { millis: 7 }),
            rule(Fault::Throttle),
        ]);
        let api = Api {
            service: Service::Kinesis,
            name: "PutRecord".to_owned(),
        };
        let fate = faults.decide(&api, b"");
        assert_eq!((fate.delay.as_millis(), fate.fault), (12, Some(Fault::ReplyLost)));
        assert_eq!(
            faults.rules().iter().map(|active| active.struck).collect::<Vec<_>>(),
            [1, 1, 1, 0]
        );
        assert!(faults.remove(faults.rules()[1].id));
        assert_eq!(faults.decide(&api, b"").fault, Some(Fault::Throttle));
        faults.clear();
        assert_eq!(faults.decide(&api, b""), Fate::default());
    }

    #[test]
    fn a_rule_is_short_in_json() {
        let text = r#"{"service":"dynamodb","api":"UpdateItem","when":{"nth":3},"fault":{"delay":{"millis":50}}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(
            rule,
            Rule::new(Service::DynamoDb, "UpdateItem", Fault::Delay { millis: 50 }).nth(3)
        );
        let short: Rule = serde_json::from_str(r#"{"service":"kinesis","api":"*","fault":"replyLost"}"#).unwrap();
        assert_eq!(short, Rule::new(Service::Kinesis, "*", Fault::ReplyLost));
        assert!(serde_json::from_str::<Rule>(r#"{"service":"kinesis","api":"*","fault":"reset","typo":1}"#).is_err());
    }

    #[test]
    fn the_rules_and_faults_of_the_page_are_read() {
        let page = include_str!("../../../docs/emulator.md");
        let rules: Vec<Rule> = page
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rules.len(), 4);
        let (_, faults) = page.split_once("| Fault |").unwrap();
        let faults: Vec<Fault> = faults
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(|fault| serde_json::from_str(&fault.replace('N', "1")).unwrap())
            .collect();
        assert_eq!(faults.len(), 11);
    }
}
