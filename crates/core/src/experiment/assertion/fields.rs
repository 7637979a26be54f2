//! What an assertion may name. `docs/assertions.md` is printed from these tables.

use std::fmt::Write;

/// What kind of value a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Int,
    /// A number with a fraction: compare it with `5.0`, not with `5`.
    Double,
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A list of texts.
    Texts,
    /// Whole numbers by worker.
    ByWorker,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bool => "bool",
            Self::Texts => "list of string",
            Self::ByWorker => "map from worker to int",
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The variable: `leases`.
    pub root: &'static str,
    /// The field: `max`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is.
    pub means: &'static str,
}

const fn field(root: &'static str, name: &'static str, kind: Kind, means: &'static str) -> Field {
    Field {
        root,
        name,
        kind,
        means,
    }
}

/// All fields but those of `steps`.
pub const FIELDS: &[Field] = &[
    field(
        "leases",
        "total",
        Kind::Int,
        "rows of the lease table, finished leases included",
    ),
    field(
        "leases",
        "active",
        Kind::Int,
        "runnable leases: those whose shard has records left to read",
    ),
    field("leases", "assigned", Kind::Int, "runnable leases whose owner lives"),
    field(
        "leases",
        "unassigned",
        Kind::Int,
        "runnable leases without an owner that lives",
    ),
    field(
        "leases",
        "min",
        Kind::Int,
        "runnable leases of the live worker with the fewest",
    ),
    field(
        "leases",
        "max",
        Kind::Int,
        "runnable leases of the live worker with the most",
    ),
    field(
        "leases",
        "imbalance",
        Kind::Int,
        "`max` less `min`; workers with no lease are included",
    ),
    field("leases", "mean", Kind::Double, "assigned leases per live worker"),
    field(
        "leases",
        "cv",
        Kind::Double,
        "coefficient of variation of leases over live workers; 0.0 is perfectly even",
    ),
    field(
        "leases",
        "byWorker",
        Kind::ByWorker,
        "runnable leases of each live worker, by its name",
    ),
    field("stream", "total", Kind::Int, "all shards"),
    field("stream", "open", Kind::Int, "shards that take records"),
    field("stream", "closed", Kind::Int, "shards that were split or merged away"),
    field(
        "stream",
        "status",
        Kind::Text,
        "`ACTIVE`, `UPDATING`, `CREATING`, `DELETING` or `MISSING`",
    ),
    field("workers", "live", Kind::Int, "workers whose heartbeat is seen"),
    field(
        "workers",
        "ready",
        Kind::Int,
        "live workers whose process says that it is ready",
    ),
    field("workers", "wanted", Kind::Int, "workers that the run wants"),
    field(
        "workers",
        "present",
        Kind::Int,
        "worker processes that are there, ready or not",
    ),
    field("workers", "names", Kind::Texts, "the live workers' names, sorted"),
    field(
        "lineage",
        "children",
        Kind::Int,
        "shards that appeared by splits and merges since the run began",
    ),
    field(
        "lineage",
        "childrenStarted",
        Kind::Int,
        "those of them whose reading has begun",
    ),
    field(
        "lineage",
        "childrenStartedBeforeParentEnd",
        Kind::Int,
        "those of them that did not wait for their parents: reading began before the last parent was finished, or, where \
         the parents had nothing left to read, within 5 s of the child's appearing",
    ),
    field(
        "lineage",
        "childrenOverlapped",
        Kind::Int,
        "those of them whose reading began before the last parent was finished",
    ),
    field(
        "lineage",
        "startDelayMaxSeconds",
        Kind::Double,
        "the longest time from a child's appearing to its reading",
    ),
    field(
        "records",
        "produced",
        Kind::Int,
        "records sent and acknowledged since the run began",
    ),
    field("records", "delivered", Kind::Int, "those delivered at least once"),
    field(
        "records",
        "missing",
        Kind::Int,
        "those not delivered; ones still on their way do not count",
    ),
    field("records", "duplicates", Kind::Int, "deliveries beyond the first"),
    field(
        "records",
        "reordered",
        Kind::Int,
        "deliveries after a later record of the same lane",
    ),
    field(
        "records",
        "dropped",
        Kind::Int,
        "records that were read and given to no processor: out of their shard's range, or given up as poison",
    ),
    field(
        "records",
        "unreadSecondsMax",
        Kind::Double,
        "the longest time that any runnable shard was read by nobody",
    ),
];

/// The fields of `steps['name']`, for steps that come before the assertion.
pub const STEP_FIELDS: &[Field] = &[
    field(
        "steps",
        "kind",
        Kind::Text,
        "the step's action: `split`, `waitUntilBalanced`, ...",
    ),
    field("steps", "outcome", Kind::Text, "`Pass`, `Fail` or `Inconclusive`"),
    field(
        "steps",
        "seconds",
        Kind::Double,
        "how long the step took, times on hold taken off",
    ),
    field(
        "steps",
        "convergenceSeconds",
        Kind::Double,
        "waits only: from the first action since the wait before it (a kill, a split, a scale) until balance was reached that then lasted; `stableFor` is not part of it",
    ),
    field(
        "steps",
        "moves",
        Kind::Int,
        "leases that changed from one owner to another; a wait counts from the end of the wait before it",
    ),
    field(
        "steps",
        "movesMinimum",
        Kind::Int,
        "the fewest such changes that could have led to an even dealing out",
    ),
    field("steps", "imbalance", Kind::Int, "the imbalance when the step ended"),
    field(
        "steps",
        "leasesPerWorker",
        Kind::ByWorker,
        "leases of each worker when the step ended",
    ),
    field(
        "steps",
        "unreadSecondsMax",
        Kind::Double,
        "the longest time that any runnable shard was read by nobody meanwhile",
    ),
    field("steps", "totalShards", Kind::Int, "all shards when the step ended"),
    field("steps", "openShards", Kind::Int, "open shards when the step ended"),
    field("steps", "closedShards", Kind::Int, "closed shards when the step ended"),
    field(
        "steps",
        "interfered",
        Kind::Bool,
        "whether somebody else scaled or resharded, or a worker ended unasked, meanwhile",
    ),
];

/// The tables of the fields, as Markdown.
pub fn documented() -> String {
    let mut text = String::new();
    let mut root = "";
    for field in FIELDS.iter().chain(STEP_FIELDS) {
        if field.root != root {
            root = field.root;
            let variable = if root == "steps" { "steps['name']" } else { root };
            let _ = write!(
                text,
                "\n### `{variable}`\n\n| field | type | meaning |\n|---|---|---|\n"
            );
        }
        let _ = writeln!(text, "| `{}` | {} | {} |", field.name, field.kind.as_str(), field.means);
    }
    text
}
