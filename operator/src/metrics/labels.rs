//! The labels of the operator's counters: closed sets, so that no series appears by surprise.

use prometheus_client::encoding::EncodeLabelSet;

/// How a look at an experiment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconcile {
    /// Everything is as it should be; nothing was written.
    Unchanged,
    /// The status changed, or something was done.
    Changed,
    /// A part of the world could not be read: time passed and nothing else.
    Unseen,
    /// The manifest asks for what cannot or may not be.
    Refused,
    /// It broke off and is tried again.
    Failed,
}

impl Reconcile {
    pub(super) const ALL: [Self; 5] = [
        Self::Unchanged,
        Self::Changed,
        Self::Unseen,
        Self::Refused,
        Self::Failed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Unseen => "unseen",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// At which step a look failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Reading the cluster, the tables or the stream.
    Observe,
    /// Writing the objects of the experiment.
    Apply,
    /// Calling the stream.
    Stream,
    /// Writing the status, other than because somebody else was first.
    Status,
    /// Somebody else wrote the status first; the next look decides again.
    Conflict,
    /// The time for one look was over.
    Timeout,
}

impl Failure {
    pub(super) const ALL: [Self; 6] = [
        Self::Observe,
        Self::Apply,
        Self::Stream,
        Self::Status,
        Self::Conflict,
        Self::Timeout,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Apply => "apply",
            Self::Stream => "stream",
            Self::Status => "status",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    outcome: &'static str,
}

impl From<Reconcile> for Outcome {
    fn from(reconcile: Reconcile) -> Self {
        Self {
            outcome: reconcile.label(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    kind: &'static str,
}

impl From<Failure> for Kind {
    fn from(failure: Failure) -> Self {
        Self { kind: failure.label() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Done {
    pub(super) effect: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Api {
    pub(super) resource: &'static str,
    pub(super) verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) kind: String,
    pub(super) outcome: &'static str,
}
