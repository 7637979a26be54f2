//! The values behind the names, typed as the language wants them: `i64` and `f64`, nothing unsigned.

use std::collections::BTreeMap;

use cel::objects::Key;
use cel::{Context, Value};

use super::fields::{FIELDS, Kind, STEP_FIELDS};
use super::paths::Path;
use crate::experiment::facts::{Census, seconds};
use crate::experiment::status::{Status, StepResult};
use crate::experiment::world::{ChildFacts, World};
use crate::id::WorkerId;

/// What an assertion is judged by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    fields: BTreeMap<(&'static str, &'static str), Fact>,
    steps: BTreeMap<String, BTreeMap<&'static str, Fact>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Fact {
    Int(i64),
    Double(f64),
    Text(String),
    Bool(bool),
    Texts(Vec<String>),
    ByWorker(BTreeMap<String, i64>),
}

impl Facts {
    pub(in crate::experiment) fn of(
        world: &World,
        status: &Status,
        census: &Census,
        now: super::super::Timestamp,
    ) -> Self {
        let mut facts = Self::default();
        let mut set = |root, name, fact| {
            facts.fields.insert((root, name), fact);
        };
        let leases = census.summary();
        set("leases", "total", int(leases.total));
        set("leases", "active", int(leases.active));
        set("leases", "assigned", int(leases.assigned));
        set("leases", "unassigned", int(leases.unassigned));
        set("leases", "min", int(census.min()));
        set("leases", "max", int(census.max()));
        set("leases", "imbalance", int(leases.imbalance));
        set("leases", "mean", Fact::Double(census.mean()));
        set("leases", "cv", Fact::Double(census.cv()));
        set("leases", "byWorker", by_worker(&census.by_live_worker));
        let stream = super::super::facts::stream_summary(world);
        set("stream", "total", int(stream.total));
        set("stream", "open", int(stream.open));
        set("stream", "closed", int(stream.closed));
        set("stream", "status", Fact::Text(stream.status));
        set("workers", "live", int(census.by_live_worker.len()));
        set(
            "workers",
            "ready",
            int(world
                .workers
                .iter()
                .filter(|worker| worker.live && worker.ready)
                .count()),
        );
        set(
            "workers",
            "wanted",
            int(status.replicas_wanted.unwrap_or(world.replicas.wanted)),
        );
        set("workers", "present", int(world.replicas.present));
        set(
            "workers",
            "names",
            Fact::Texts(census.by_live_worker.keys().map(ToString::to_string).collect()),
        );
        let started = |child: &&ChildFacts| child.started.is_some();
        set("lineage", "children", int(world.children.len()));
        set(
            "lineage",
            "childrenStarted",
            int(world.children.iter().filter(started).count()),
        );
        set(
            "lineage",
            "childrenStartedBeforeParentEnd",
            int(world.children.iter().filter(|child| child.unwaiting()).count()),
        );
        set(
            "lineage",
            "childrenOverlapped",
            int(world.children.iter().filter(|child| child.overlapped()).count()),
        );
        set(
            "lineage",
            "startDelayMaxSeconds",
            Fact::Double(
                world
                    .children
                    .iter()
                    .filter_map(ChildFacts::start_delay)
                    .map(seconds)
                    .fold(0.0, f64::max),
            ),
        );
        let records = &world.records;
        set("records", "produced", int(records.produced));
        set("records", "delivered", int(records.delivered));
        set("records", "missing", int(records.missing));
        set("records", "duplicates", int(records.duplicates));
        set("records", "reordered", int(records.reordered));
        set("records", "dropped", int(records.dropped.values().sum::<u64>()));
        set(
            "records",
            "unreadSecondsMax",
            Fact::Double(super::super::facts::unread_max(world, status.started_at, now)),
        );
        facts.steps = status
            .steps
            .iter()
            .map(|step| (step.name.clone(), step_facts(step)))
            .collect();
        facts
    }

    /// Made-up facts of the right types, with these steps.
    pub(super) fn sample(steps: &[&str]) -> Self {
        let made_up = |kind| match kind {
            Kind::Int => Fact::Int(1),
            Kind::Double => Fact::Double(1.0),
            Kind::Text => Fact::Text("ACTIVE".to_owned()),
            Kind::Bool => Fact::Bool(false),
            Kind::Texts => Fact::Texts(vec!["worker-0".to_owned()]),
            Kind::ByWorker => Fact::ByWorker(BTreeMap::from([("worker-0".to_owned(), 1)])),
        };
        let step: BTreeMap<_, _> = STEP_FIELDS
            .iter()
            .map(|field| (field.name, made_up(field.kind)))
            .collect();
        Self {
            fields: FIELDS
                .iter()
                .map(|field| ((field.root, field.name), made_up(field.kind)))
                .collect(),
            steps: steps.iter().map(|&name| (name.to_owned(), step.clone())).collect(),
        }
    }

    /// The variables of the language.
    pub(super) fn context(&self) -> Context<'static> {
        let mut context = Context::default();
        let mut roots: BTreeMap<&str, Vec<(&str, Value)>> = BTreeMap::new();
        for ((root, name), fact) in &self.fields {
            roots.entry(root).or_default().push((name, fact.value()));
        }
        for (root, fields) in roots {
            context.add_variable_from_value(root, map(fields));
        }
        let steps = self.steps.iter().map(|(name, facts)| {
            (
                name.as_str(),
                map(facts.iter().map(|(&field, fact)| (field, fact.value()))),
            )
        });
        context.add_variable_from_value("steps", map(steps));
        context
    }

    /// A field's value as text.
    pub(super) fn show(&self, path: &Path) -> Option<String> {
        match path {
            Path::Field(root, field) => self
                .fields
                .iter()
                .find(|((r, f), _)| r == root && f == field)
                .map(|(_, fact)| fact.show()),
            Path::Step(step, field) => self
                .steps
                .get(step)?
                .iter()
                .find(|(name, _)| *name == field)
                .map(|(_, fact)| fact.show()),
        }
    }
}

fn step_facts(step: &StepResult) -> BTreeMap<&'static str, Fact> {
    let mut facts = BTreeMap::from([
        ("kind", Fact::Text(step.kind.clone())),
        ("outcome", Fact::Text(step.outcome.as_str().to_owned())),
        ("interfered", Fact::Bool(step.interference.is_some())),
        ("leasesPerWorker", by_worker(&step.leases_per_worker)),
    ]);
    let doubles = [
        ("seconds", step.seconds),
        ("convergenceSeconds", step.convergence_seconds),
        ("unreadSecondsMax", step.unread_seconds_max),
    ];
    facts.extend(
        doubles
            .into_iter()
            .filter_map(|(name, value)| Some((name, Fact::Double(value?)))),
    );
    let stream = step.stream.as_ref();
    let ints = [
        ("moves", step.moves),
        ("movesMinimum", step.moves_minimum),
        ("imbalance", step.imbalance),
        ("totalShards", stream.map(|stream| stream.total)),
        ("openShards", stream.map(|stream| stream.open)),
        ("closedShards", stream.map(|stream| stream.closed)),
    ];
    facts.extend(ints.into_iter().filter_map(|(name, value)| Some((name, int(value?)))));
    facts
}

impl Fact {
    fn value(&self) -> Value {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Float(*number),
            Self::Text(text) => text.as_str().into(),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Texts(texts) => texts
                .iter()
                .map(|text| Value::from(text.as_str()))
                .collect::<Vec<_>>()
                .into(),
            Self::ByWorker(counts) => map(counts.iter().map(|(name, count)| (name.as_str(), Value::Int(*count)))),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Double(number) => format!("{:?}", (number * 1_000.0).round() / 1_000.0),
            Self::Text(text) => format!("'{text}'"),
            Self::Bool(truth) => truth.to_string(),
            Self::Texts(texts) => format!("[{}]", texts.join(", ")),
            Self::ByWorker(counts) => {
                let counts: Vec<_> = counts
                    .iter()
                    .map(|(worker, count)| format!("{worker}: {count}"))
                    .collect();
                format!("{{{}}}", counts.join(", "))
            }
        }
    }
}

fn int(number: impl TryInto<i64>) -> Fact {
    Fact::Int(number.try_into().unwrap_or(i64::MAX))
}

fn by_worker(counts: &BTreeMap<WorkerId, u32>) -> Fact {
    Fact::ByWorker(
        counts
            .iter()
            .map(|(worker, count)| (worker.to_string(), i64::from(*count)))
            .collect(),
    )
}

#[allow(
    clippy::disallowed_types,
    reason = "the language's map is one; nothing here depends on its order"
)]
fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let map: std::collections::HashMap<Key, Value> = fields
        .into_iter()
        .map(|(name, value)| (Key::from(name), value))
        .collect();
    map.into()
}
