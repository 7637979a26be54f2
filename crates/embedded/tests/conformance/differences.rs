//! Where other implementations differ from the API, and what its documentation says.

use std::fmt::Write;

use crate::suite::{Finding, Outcome};

const HEAD: &str = "\
<!-- Written by: UPDATE=1 cargo test -p kinex-embedded --test conformance conformance_md -->
# Conformance of the embedded endpoints

One suite of named checks, through AWS's own SDK for Rust, runs against the embedded endpoints and against two
implementations by others: npm `kinesis-local` 0.6.2 and AWS's DynamoDB Local 2.6.1. The embedded endpoints pass all of it.
Where another implementation does not, the API's documentation decides what the check asks for. What stands behind
\"Documentation\" below was compared with the API reference as the SDK's own pages give it; where that leaves something
open, the line says so.

A check is `ok` when all its parts hold, `partly` when some do, `no` when none does.
";

/// A check that an implementation does not pass as a whole.
pub(crate) struct Difference {
    pub(crate) check: &'static str,
    pub(crate) outcome: Outcome,
    /// What it does instead.
    pub(crate) does: &'static str,
    /// What the API's documentation says.
    pub(crate) documented: &'static str,
}

/// npm `kinesis-local` 0.6.2.
pub(crate) const KINESIS_LOCAL: &[Difference] = &[
    Difference {
        check: "a name with a blank is refused",
        outcome: Outcome::No,
        does: "refuses it with InvalidArgumentException",
        documented: "StreamName has the pattern `[a-zA-Z0-9_.-]+`; which of InvalidArgumentException and ValidationException refuses it is left open, and the service is reported to answer the latter",
    },
    Difference {
        check: "a stream of no shards is refused",
        outcome: Outcome::No,
        does: "refuses it with LimitExceededException",
        documented: "ShardCount is at least 1; LimitExceededException is for too many shards, and the service is reported to answer ValidationException to too few",
    },
    Difference {
        check: "the filter AT_TRIM_HORIZON gives the shards of the beginning",
        outcome: Outcome::No,
        does: "gives all shards",
        documented: "AT_TRIM_HORIZON gives all the shards that were open at TRIM_HORIZON",
    },
    Difference {
        check: "PutRecords takes 500 records at most",
        outcome: Outcome::Partly,
        does: "takes 501",
        documented: "each request can support up to 500 records",
    },
    Difference {
        check: "a partition key has 1 to 256 characters",
        outcome: Outcome::Partly,
        does: "refuses the others with InvalidArgumentException",
        documented: "a partition key has a maximum of 256 characters; which exception refuses a longer one is left open as with names",
    },
    Difference {
        check: "a sequence number of another shard is refused",
        outcome: Outcome::Partly,
        does: "takes another shard's number; a made-up one is ResourceNotFoundException",
        documented: "StartingSequenceNumber is the sequence number of the record in the shard; InvalidArgumentException is for a parameter that cannot be used, ResourceNotFoundException for a missing stream",
    },
    Difference {
        check: "a made-up iterator is InvalidArgument",
        outcome: Outcome::No,
        does: "answers HTTP 500 without a body",
        documented: "InvalidArgumentException is for a parameter that is not supported or cannot be used; GetRecords lists it",
    },
    Difference {
        check: "a closed shard is not split again",
        outcome: Outcome::Partly,
        does: "refuses it with ResourceInUseException",
        documented: "ResourceInUseException is for a resource that must become ACTIVE first, which a closed shard never does; that leaves InvalidArgumentException",
    },
    Difference {
        check: "children start after their parent's end",
        outcome: Outcome::Partly,
        does: "ends every closed shard at 9223372036854775807, which is below its records' numbers",
        documented: "EndingSequenceNumber ends the range of possible sequence numbers of the shard; open shards have none",
    },
];

/// AWS's DynamoDB Local 2.6.1.
pub(crate) const DYNAMODB_LOCAL: &[Difference] = &[Difference {
    check: "tags are kept",
    outcome: Outcome::No,
    does: "answers UnknownOperationException: tags are not in the local version",
    documented: "TagResource adds tags to a table",
}];

/// Compares findings with the known differences; every surprise is a line.
pub(crate) fn surprises(findings: &[Finding], known: &[Difference]) -> Vec<String> {
    let expected = |name| {
        known
            .iter()
            .find(|known| known.check == name)
            .map_or(Outcome::Ok, |known| known.outcome)
    };
    let surprise = |finding: &Finding| {
        let Finding { name, outcome, why } = finding;
        (*outcome != expected(*name)).then(|| format!("{name}: {outcome} instead of {}: {why}", expected(name)))
    };
    let vanished = known
        .iter()
        .filter(|known| findings.iter().all(|finding| finding.name != known.check));
    findings
        .iter()
        .filter_map(surprise)
        .chain(vanished.map(|known| format!("{}: no such check", known.check)))
        .collect()
}

/// The text of `docs/conformance.md`.
pub(crate) fn page(kinesis: &[&str], dynamodb: &[&str]) -> String {
    let mut page = HEAD.to_owned();
    table(&mut page, "Kinesis", "kinesis-local", kinesis, KINESIS_LOCAL);
    table(&mut page, "DynamoDB", "DynamoDB Local", dynamodb, DYNAMODB_LOCAL);
    page
}

fn table(page: &mut String, service: &str, peer: &str, checks: &[&str], known: &[Difference]) {
    let of = |check: &str| known.iter().find(|known| known.check == check);
    let _ = write!(
        page,
        "\n## {service}: {} checks\n\n| Check | embedded | {peer} |\n|---|---|---|\n",
        checks.len()
    );
    for check in checks {
        let outcome = of(check).map_or(Outcome::Ok, |known| known.outcome);
        let _ = writeln!(page, "| {check} | ok | {outcome} |");
    }
    let _ = write!(page, "\n### Where {peer} differs\n");
    for Difference {
        check,
        outcome,
        does,
        documented,
    } in known
    {
        let _ = write!(
            page,
            "\n- **{check}** ({outcome}): it {does}.\n  Documentation: {documented}.\n"
        );
    }
}
