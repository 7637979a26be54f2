//! Lists of steps by their names, spelled out for a stream and a fleet of a given size.

use std::time::Duration;

use super::spec::{Action, Assertion, Balance, KillMode, OnFailure, PodSelect, Restart, ShardSelect, Step};

/// A list of steps by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// Balance, split half of the shards, balance, two more workers, balance, verify.
    SplitThenScale,
    /// Balance, two more workers, balance, verify.
    ScaleOnly,
    /// Balance, split half of the shards, balance, verify.
    SplitOnly,
    /// Balance, split half of the shards, balance, merge as many pairs, balance, verify.
    MergeBack,
    /// Balance, end the fullest worker at once, balance, verify.
    PodLoss,
}

/// What a preset is spelled out for.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// Open shards at the start.
    pub initial_shards: u32,
    /// Workers at the start.
    pub replicas: u32,
    /// Whether children wait for their parents; nothing is then asserted about their start.
    pub children_wait: bool,
    /// What counts as balanced.
    pub balance: Balance,
    /// How long any other step may take.
    pub step_timeout: Duration,
    /// How long an assertion may take to come true.
    pub assert_timeout: Duration,
    /// What a failed step does.
    pub on_failure: OnFailure,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SplitThenScale,
        Self::ScaleOnly,
        Self::SplitOnly,
        Self::MergeBack,
        Self::PodLoss,
    ];

    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SplitThenScale => "split-then-scale",
            Self::ScaleOnly => "scale-only",
            Self::SplitOnly => "split-only",
            Self::MergeBack => "merge-back",
            Self::PodLoss => "pod-loss",
        }
    }

    /// The steps, spelled out.
    pub fn steps(self, size: &Size) -> Vec<Step> {
        let shards = size.initial_shards;
        let split = (shards / 2).max(1);
        let (few, many) = (size.replicas, size.replicas + 2);
        let split_shards = || {
            size.step(
                "split",
                Action::Split {
                    count: split,
                    select: ShardSelect::Widest,
                },
            )
        };
        let resharded = size.after_split(shards, split);
        let mut steps = vec![
            size.wait("steady-1", shards, few),
            size.even("check-initial", shards, few, vec![]),
        ];
        steps.extend(match self {
            Self::SplitThenScale => vec![
                split_shards(),
                size.wait("steady-2", shards + split, few),
                size.even("check-split", shards + split, few, resharded),
                size.step("scale-out", Action::Scale { replicas: many }),
                size.wait("steady-3", shards + split, many),
                size.even("verify", shards + split, many, size.converged("steady-3")),
            ],
            Self::ScaleOnly => vec![
                size.step("scale-out", Action::Scale { replicas: many }),
                size.wait("steady-2", shards, many),
                size.even("verify", shards, many, size.converged("steady-2")),
            ],
            Self::SplitOnly => vec![
                split_shards(),
                size.wait("steady-2", shards + split, few),
                size.even("verify", shards + split, few, resharded),
            ],
            Self::MergeBack => vec![
                split_shards(),
                size.wait("steady-2", shards + split, few),
                size.even("check-split", shards + split, few, resharded),
                size.step("merge", Action::Merge { count: split }),
                size.wait("steady-3", shards, few),
                size.even(
                    "verify",
                    shards,
                    few,
                    vec![assertion("shards-as-before", format!("stream.open == {shards}"))],
                ),
            ],
            Self::PodLoss => vec![
                size.step(
                    "kill-fullest",
                    Action::KillPod {
                        count: 1,
                        select: PodSelect::MostLeases,
                        mode: KillMode::Force,
                        witness: true,
                        restart: Restart::Immediately,
                    },
                ),
                size.wait("failover", shards, few),
                size.even("verify", shards, few, vec![]),
            ],
        });
        steps
    }
}

impl Size {
    fn step(&self, name: &str, action: Action) -> Step {
        let timeout = match &action {
            Action::WaitUntilBalanced { .. } => self.balance.timeout,
            Action::Assert { .. } => self.assert_timeout,
            _ => self.step_timeout,
        };
        Step {
            name: name.to_owned(),
            action,
            timeout,
            on_failure: self.on_failure,
        }
    }

    fn wait(&self, name: &str, leases: u32, workers: u32) -> Step {
        self.step(
            name,
            Action::WaitUntilBalanced {
                max_imbalance: self.balance.max_imbalance,
                max_per_worker: Some(leases.div_ceil(workers.max(1)) + self.balance.max_imbalance.saturating_sub(1)),
                stable_for: self.balance.stable_for,
            },
        )
    }

    /// Every lease is owned and each worker has its share, rounded down or up; no record is missing.
    fn even(&self, name: &str, leases: u32, workers: u32, more: Vec<Assertion>) -> Step {
        let (least, most) = (leases / workers.max(1), leases.div_ceil(workers.max(1)));
        let mut all = vec![
            assertion(
                "all-owned",
                format!("leases.unassigned == 0 && leases.active == {leases}"),
            ),
            assertion("even", format!("leases.min >= {least} && leases.max <= {most}")),
            assertion("nothing-lost", "records.missing == 0".to_owned()),
        ];
        all.extend(more);
        self.step(name, Action::Assert { all })
    }

    fn after_split(&self, shards: u32, split: u32) -> Vec<Assertion> {
        let (total, open) = (shards + 2 * split, shards + split);
        let mut all = vec![assertion(
            "shards",
            format!("stream.total == {total} && stream.open == {open} && stream.closed == {split}"),
        )];
        if !self.children_wait {
            let expr = "lineage.childrenStartedBeforeParentEnd == lineage.children";
            all.push(assertion("children-at-once", expr.to_owned()));
        }
        all
    }

    fn converged(&self, wait: &str) -> Vec<Assertion> {
        vec![assertion(
            "converged-in-time",
            format!("steps['{wait}'].convergenceSeconds <= 120.0"),
        )]
    }
}

fn assertion(name: &str, expr: String) -> Assertion {
    Assertion {
        name: name.to_owned(),
        expr,
    }
}
