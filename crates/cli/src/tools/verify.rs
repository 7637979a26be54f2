//! `kinex verify`: the shards of a stream, and whether every hash key has exactly one open shard.

use kinex_core::lineage::{Flaw, Lineage};
use serde::Serialize;

use super::snapshot::short;
use crate::endpoint::Target;
use crate::exit::Code;
use crate::output::{Format, Shown, show, table};
use kinex_stage::report::summary::Shards;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    stream: String,
    status: String,
    shards: Shards,
    flaws: Vec<String>,
    list: Vec<ShardLine>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardLine {
    shard_id: String,
    state: &'static str,
    parents: Vec<String>,
    children: Vec<String>,
    starting_hash_key: String,
    ending_hash_key: String,
}

impl Shown for Verified {
    fn text(&self, wide: bool) -> String {
        let count = |what: &str, n: usize| vec![what.to_owned(), n.to_string()];
        let shards = self.shards;
        let counts = vec![
            count("total", shards.total),
            count("open", shards.open),
            count("closed", shards.closed),
        ];
        let mut text = format!(
            "stream {} is {}\n\n{}",
            self.stream,
            self.status,
            table(["shards", ""], counts)
        );
        if wide {
            let join = |ids: &[String]| ids.iter().map(|id| short(id)).collect::<Vec<_>>().join(" ");
            let rows = self.list.iter().map(|s| {
                let keys = (s.starting_hash_key.clone(), s.ending_hash_key.clone());
                vec![
                    s.shard_id.clone(),
                    s.state.to_owned(),
                    join(&s.parents),
                    join(&s.children),
                    keys.0,
                    keys.1,
                ]
            });
            text += "\n\n";
            text += &table(
                [
                    "shard",
                    "state",
                    "parents",
                    "children",
                    "first hash key",
                    "last hash key",
                ],
                rows.collect(),
            );
        }
        text += "\n\n";
        match self.flaws.as_slice() {
            [] => text += "hash keys: every one has exactly one open shard",
            flaws => text += &flaws.join("\n"),
        }
        text
    }
}

/// Prints what was found; exit code 1 when hash keys are missing or taken twice.
pub(crate) async fn run(target: &Target, output: Format) -> anyhow::Result<Code> {
    let at = target.connect().await?;
    let streams = at.clients.streams();
    let summary = at.ask(|| streams.describe(&at.stream)).await?;
    let shards = at.ask(|| streams.shards(&at.stream)).await?;
    let lineage = Lineage::of(&shards);
    let list = shards.iter().map(|shard| ShardLine {
        shard_id: shard.id.to_string(),
        state: if shard.open { "open" } else { "closed" },
        parents: shard.parents().map(ToString::to_string).collect(),
        children: lineage.children(&shard.id).map(|child| child.id.to_string()).collect(),
        starting_hash_key: shard.hash_range.start.to_string(),
        ending_hash_key: shard.hash_range.end.to_string(),
    });
    let open = shards.iter().filter(|shard| shard.open).count();
    let verified = Verified {
        stream: at.stream.clone(),
        status: format!("{:?}", summary.status).to_uppercase(),
        shards: Shards {
            total: shards.len(),
            open,
            closed: shards.len() - open,
        },
        flaws: lineage.audit().iter().map(said).collect(),
        list: list.collect(),
    };
    let sound = verified.flaws.is_empty();
    show(output, &verified)?;
    Ok(if sound { Code::Done } else { Code::VerdictFailed })
}

fn said(flaw: &Flaw) -> String {
    match flaw {
        Flaw::Hole(range) => format!("hash keys: no open shard takes {} to {}", range.start, range.end),
        Flaw::Overlap { a, b } => format!("hash keys: {a} and {b} overlap"),
    }
}
