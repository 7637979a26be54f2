//! `kinex split`, `merge`, `scale`: doing by hand what a step does.

use std::collections::BTreeMap;

use kinex_core::split::{Select, merges, splits};
use serde::Serialize;

use super::snapshot::short;
use crate::endpoint::Target;
use crate::exit::{Code, Stop};
use crate::output::{Format, Shown, show, table};
use kinex_stage::report::summary::Shards;

/// Which shards to split.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    target: Target,
    /// How many shards
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// These instead of the widest; may be repeated
    #[arg(long = "shard", value_name = "ID", conflicts_with = "count")]
    shards: Vec<String>,
}

/// How many pairs to merge.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    target: Target,
    /// How many pairs of neighbors
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
}

/// How many workers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    target: Target,
    /// Workers wanted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    replicas: u32,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resharded {
    changes: Vec<Change>,
    shards: Shards,
}

#[derive(Debug, Serialize)]
struct Change {
    from: Vec<String>,
    to: Vec<String>,
}

impl Shown for Resharded {
    fn text(&self, _wide: bool) -> String {
        let join = |ids: &[String]| ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(" + ");
        let rows = self
            .changes
            .iter()
            .map(|change| vec![join(&change.from), join(&change.to)]);
        let shards = self.shards;
        let counts = format!(
            "shards: {} total, {} open, {} closed",
            shards.total, shards.open, shards.closed
        );
        format!("{}\n\n{counts}", table(["shard", "became"], rows.collect()))
    }
}

/// Splits shards one by one; nothing is split when not all of them can be.
pub(crate) async fn split(args: &SplitArgs, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let streams = at.clients.streams();
    let listing = at.ask(|| streams.shards(&at.stream)).await?;
    let named: Vec<_> = args.shards.iter().map(|id| id.as_str().into()).collect();
    let (count, select) = if named.is_empty() {
        (args.count, Select::Widest)
    } else {
        (named.len(), Select::ShardIds)
    };
    let planned =
        splits(&listing, count, select, &BTreeMap::new(), &named).map_err(|error| refused(&at.stream, error))?;
    let mut changes = Vec::new();
    for split in planned {
        let children = streams
            .split(&at.stream, &split.shard, split.at)
            .await
            .map_err(|fault| at.explain(fault))?;
        let to = children.iter().map(|shard| shard.id.to_string()).collect();
        eprintln!("split {}/{count}: {}", changes.len() + 1, split.shard);
        changes.push(Change {
            from: vec![split.shard.to_string()],
            to,
        });
    }
    done(&at, changes, output).await
}

/// Merges neighbors pair by pair; nothing is merged when not all pairs are there.
pub(crate) async fn merge(args: &MergeArgs, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let streams = at.clients.streams();
    let listing = at.ask(|| streams.shards(&at.stream)).await?;
    let planned = merges(&listing, args.count).map_err(|error| refused(&at.stream, error))?;
    let mut changes = Vec::new();
    for merge in planned {
        let child = streams
            .merge(&at.stream, &merge.shard, &merge.adjacent)
            .await
            .map_err(|fault| at.explain(fault))?;
        eprintln!(
            "merge {}/{}: {} + {}",
            changes.len() + 1,
            args.count,
            merge.shard,
            merge.adjacent
        );
        let from = vec![merge.shard.to_string(), merge.adjacent.to_string()];
        changes.push(Change {
            from,
            to: vec![child.id.to_string()],
        });
    }
    done(&at, changes, output).await
}

fn refused(stream: &str, error: kinex_core::split::Error) -> anyhow::Error {
    Stop::usage(format!("stream {stream}")).source(error).into()
}

async fn done(at: &crate::endpoint::Connected, changes: Vec<Change>, output: Format) -> anyhow::Result<Code> {
    let streams = at.clients.streams();
    let shards = at.ask(|| streams.shards(&at.stream)).await?;
    let open = shards.iter().filter(|shard| shard.open).count();
    let shards = Shards {
        total: shards.len(),
        open,
        closed: shards.len() - open,
    };
    show(output, &Resharded { changes, shards })?;
    Ok(Code::Done)
}

/// Tells a local run how many workers are wanted, as `kubectl scale` tells a cluster.
pub(crate) async fn scale(args: &ScaleArgs) -> anyhow::Result<Code> {
    if args.target.run.is_none() {
        let next = "give --run DIR, the report directory of a `kinex run` that is running";
        return Err(Stop::usage("which run shall have other workers?").next(next).into());
    }
    let at = args.target.connect().await?;
    let wish = serde_json::json!({ "replicas": args.replicas, "at": jiff::Timestamp::now().to_string() });
    let facts = at.clients.facts(&at.application);
    facts
        .put("control", "scale", &wish.to_string())
        .await
        .map_err(|fault| at.explain(fault))?;
    eprintln!("asked for {} workers of {}", args.replicas, at.application);
    Ok(Code::Done)
}
