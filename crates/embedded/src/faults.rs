//! The fault plan: which requests go wrong, and how.
//!
//! Rules are tried in their order. All delays and links of the rules that match add up; of the other faults the first one
//! counts. Everything is decided by counters and seeds, so that the same requests in the same order meet the same faults.

mod fault;
mod line;
mod rule;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::fault::{Fault, InjectedError};
pub(crate) use self::line::{Line, Lines};
pub use self::rule::{Link, Rule, When};
use crate::requests::{Api, Service};

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
    /// The lines that all connections share, by the id of their rule.
    shared: Lines,
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

    /// What happens to this request on a connection with these lines.
    pub(crate) fn decide(&self, api: &Api, body: &[u8], lines: &Lines) -> Fate {
        self.locked(|plan| plan.decide(api, body, lines))
    }

    /// The lines that every request to this API goes through, whatever its body turns out to be.
    pub(crate) fn upload_lines(&self, api: &Api, lines: &Lines) -> Vec<(u64, Line)> {
        self.locked(|plan| {
            let rules = plan.rules.iter().filter(|active| active.rule.is_unconditional(api));
            rules
                .filter_map(|active| plan.line(active.id, active.rule.link?, lines))
                .collect()
        })
    }

    /// Whether a new connection to a port of these services stays silent.
    pub(crate) fn silences(&self, serves: impl Fn(Service) -> bool) -> bool {
        self.locked(|plan| plan.silences(serves))
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Plan) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the plan says about one request.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) reply_delay: Duration,
    /// What the bodies go through, by the id of the rule.
    pub(crate) lines: Vec<(u64, Line)>,
    /// Anything but delays and lines.
    pub(crate) fault: Option<Fault>,
    /// Whether any rule touched the request.
    pub(crate) touched: bool,
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

    fn decide(&mut self, api: &Api, body: &[u8], lines: &Lines) -> Fate {
        let mut fate = Fate::default();
        for index in 0..self.rules.len() {
            let Some((id, seen, rule)) = self.strike(index, |rule| {
                rule.fault != Some(Fault::Silent) && rule.matches(api, body)
            }) else {
                continue;
            };
            let mut touched = false;
            if let Some(link) = rule.link {
                let latency = link.latency(seen);
                fate.delay += latency / 2;
                fate.reply_delay += latency - latency / 2;
                fate.lines.extend(self.line(id, link, lines));
                touched = true;
            }
            match rule.fault {
                None => {}
                Some(Fault::Delay { millis }) => {
                    fate.delay += Duration::from_millis(millis);
                    touched = true;
                }
                Some(Fault::DelayReply { millis }) => {
                    fate.reply_delay += Duration::from_millis(millis);
                    touched = true;
                }
                // Another fault came first: this one has not struck.
                Some(_) if fate.fault.is_some() => {}
                Some(fault) => {
                    fate.fault = Some(fault);
                    touched = true;
                }
            }
            if touched {
                self.rules[index].struck += 1;
                fate.touched = true;
            }
        }
        fate
    }

    fn silences(&mut self, serves: impl Fn(Service) -> bool) -> bool {
        for index in 0..self.rules.len() {
            let silences = |rule: &Rule| rule.fault == Some(Fault::Silent) && serves(rule.service);
            if self.strike(index, silences).is_some() {
                self.rules[index].struck += 1;
                return true;
            }
        }
        false
    }

    /// Counts what a rule sees when it applies and is not spent: its id, the count, and the rule itself if it strikes.
    fn strike(&mut self, index: usize, applies: impl Fn(&Rule) -> bool) -> Option<(u64, u64, Rule)> {
        let Active { id, rule, seen, struck } = &mut self.rules[index];
        if rule.times.is_some_and(|times| *struck >= times) || !applies(rule) {
            return None;
        }
        *seen += 1;
        rule.strikes(*seen).then(|| (*id, *seen, rule.clone()))
    }

    fn line(&self, id: u64, link: Link, of_connection: &Lines) -> Option<(u64, Line)> {
        let lines = if link.shared { &self.shared } else { of_connection };
        Some((id, lines.of(id, link.bps?)))
    }
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
            .filter(|_| faults.decide(&api, b"worker-3", &Lines::default()).touched)
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
        let decide = || faults.decide(&api, b"", &Lines::default());
        let fate = decide();
        assert_eq!((fate.delay.as_millis(), fate.fault), (12, Some(Fault::ReplyLost)));
        assert_eq!(
            faults.rules().iter().map(|active| active.struck).collect::<Vec<_>>(),
            [1, 1, 1, 0]
        );
        assert!(faults.remove(faults.rules()[1].id));
        assert_eq!(decide().fault, Some(Fault::Throttle));
        faults.clear();
        assert!(!decide().touched);
    }

    #[test]
    fn links_add_up_beside_the_first_fault_and_keep_their_lines() {
        let faults = Faults::default();
        let link = |latency_millis, shared| Link {
            bps: std::num::NonZeroU64::new(1_000),
            latency_millis,
            shared,
            ..Link::default()
        };
        faults.set([
            Rule::over(Service::Kinesis, "*", link(5, false)),
            Rule::new(Service::Kinesis, "*", Fault::Throttle),
            Rule {
                link: Some(link(10, true)),
                ..Rule::new(Service::Kinesis, "*", Fault::Reset)
            },
        ]);
        let api = Api {
            service: Service::Kinesis,
            name: "GetRecords".to_owned(),
        };
        let (one, other) = (Lines::default(), Lines::default());
        let now = tokio::time::Instant::now();
        let mut sent = Vec::new();
        for lines in [&one, &one, &other] {
            let fate = faults.decide(&api, b"", lines);
            assert_eq!((fate.delay + fate.reply_delay).as_millis(), 15);
            assert_eq!(fate.fault, Some(Fault::Throttle));
            sent.push(
                fate.lines
                    .iter()
                    .map(|(_, line)| (line.send(100, now) - now).as_millis())
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(sent, [[100, 100], [200, 200], [100, 300]]);
        assert_eq!(faults.upload_lines(&api, &one).len(), 2);
    }

    #[test]
    fn silence_strikes_connections_and_no_requests() {
        let faults = Faults::default();
        faults.add(Rule::new(Service::Kinesis, "*", Fault::Silent).times(2));
        let api = Api {
            service: Service::Kinesis,
            name: "GetRecords".to_owned(),
        };
        assert!(!faults.decide(&api, b"", &Lines::default()).touched);
        assert!(!faults.silences(|service| service == Service::DynamoDb));
        let silenced: Vec<bool> = (0..3).map(|_| faults.silences(|_| true)).collect();
        assert_eq!(silenced, [true, true, false]);
    }

    #[test]
    fn a_rule_is_short_in_json() {
        let text = r#"{"service":"dynamodb","api":"UpdateItem","when":{"nth":3},"fault":{"delay":{"millis":50}}}"#;
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(
            rule,
            Rule::new(Service::DynamoDb, "UpdateItem", Fault::Delay { millis: 50 }).nth(3)
        );
        let slow = r#"{"service":"kinesis","api":"GetRecords","when":"always","bps":3000000,"latencyMillis":200,"jitterMillis":50,"seed":7,"shared":true}"#;
        let rule: Rule = serde_json::from_str(slow).unwrap();
        assert_eq!(
            rule,
            Rule::over(
                Service::Kinesis,
                "GetRecords",
                Link {
                    bps: std::num::NonZeroU64::new(3_000_000),
                    latency_millis: 200,
                    jitter_millis: 50,
                    seed: 7,
                    shared: true,
                }
            )
        );
        assert_eq!(serde_json::to_string(&rule).unwrap(), slow);
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
        assert_eq!(rules.len(), 9);
        let (_, faults) = page.split_once("| Fault |").unwrap();
        let faults: Vec<Fault> = faults
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(|fault| serde_json::from_str(&fault.replace(": N", ": 1")).unwrap())
            .collect();
        assert_eq!(faults.len(), 15);
    }
}
