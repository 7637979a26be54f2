//! The same summary as Markdown for a pull request.

use crate::report::recording::{Recording, ordinal_key};
use crate::report::summary::{Phase, Records, Summary};
use crate::text::{seconds, slashed};

/// The columns of [`phase_row`].
pub const PHASES: [&str; 8] = [
    "phase",
    "after",
    "leases per worker",
    "total/open/closed",
    "imbalance",
    "converged",
    "moves/min",
    "unread max",
];

/// `report.md`.
pub fn page(run: &Recording) -> String {
    let summary = &run.summary;
    let mut out = format!("# {}: {}\n\n", summary.experiment, summary.verdict);
    if let Some(message) = summary.message.as_ref().filter(|_| summary.verdict != "Pass") {
        out += &format!("{message}\n\n");
    }
    out += &format!(
        "Stream `{}`, endpoint {}, strategy {}, started {}, took {:.1} s.\n\n## Phases\n\n",
        summary.stream, summary.endpoint, summary.strategy, summary.started_at, summary.seconds
    );
    out += &markdown_table(&PHASES, &summary.phases.iter().map(phase_row).collect::<Vec<_>>());
    out += "\n## Facts\n\n";
    for fact in facts(summary) {
        out += &format!("- {fact}\n");
    }
    if !summary.settings.is_empty() {
        out += &format!("- {}\n", settings_line(summary));
    }
    out += "\n## Steps\n\n";
    let steps: Vec<_> = summary
        .steps
        .iter()
        .map(|step| {
            vec![
                step.name.clone(),
                step.kind.clone(),
                step.outcome.clone(),
                seconds(step.seconds),
                step.message.clone().unwrap_or_default(),
            ]
        })
        .collect();
    out += &markdown_table(&["step", "kind", "outcome", "took", "message"], &steps);
    out += "\n## Requests\n\n";
    let requests: Vec<_> = summary
        .requests
        .iter()
        .map(|(api, r)| vec![api.clone(), r.count.to_string(), format!("{:.2}", r.per_second)])
        .collect();
    out += &markdown_table(&["API", "requests", "per second"], &requests);
    out
}

/// `verdict: Pass` with the reason when it is another.
pub fn headline(summary: &Summary) -> String {
    let why = summary.message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default();
    format!("verdict: {}{why}", summary.verdict)
}

/// The counts of a phase in the order of the workers' numbers: `7/7/6`.
pub fn spread(leases: &std::collections::BTreeMap<String, usize>) -> String {
    let mut workers: Vec<_> = leases.iter().collect();
    workers.sort_by_key(|(name, _)| ordinal_key(name));
    slashed(workers.into_iter().map(|(_, n)| *n))
}

/// One phase as a row of [`PHASES`].
pub fn phase_row(phase: &Phase) -> Vec<String> {
    vec![
        phase.name.clone(),
        phase.after.clone(),
        spread(&phase.leases_per_worker),
        slashed([phase.stream.total, phase.stream.open, phase.stream.closed]),
        phase.imbalance.to_string(),
        seconds(phase.convergence_seconds),
        slashed([phase.moves, phase.moves_minimum]),
        seconds(Some(phase.unread_seconds_max)),
    ]
}

/// What was found beside the phases, a sentence each.
pub fn facts(summary: &Summary) -> Vec<String> {
    let mut facts = vec![match &summary.records {
        Some(records) => records_line(records),
        None => "records: not audited".to_owned(),
    }];
    let lineage = &summary.lineage;
    if lineage.children > 0 {
        facts.push(format!(
            "children: {} of {} read before their parents ended, the slowest {} after it appeared",
            lineage.children_started_before_parent_end,
            lineage.children,
            seconds(lineage.start_delay_seconds_max)
        ));
    }
    let unhappy = summary
        .steps
        .iter()
        .filter(|step| matches!(step.outcome.as_str(), "Fail" | "Inconclusive"));
    facts.extend(unhappy.map(|step| {
        format!(
            "step {} failed: {}",
            step.name,
            step.message.as_deref().unwrap_or("no reason was given")
        )
    }));
    facts
}

/// What decides how fast leases move, and what took part.
pub fn settings_line(summary: &Summary) -> String {
    let all = summary.settings.iter().chain(&summary.versions);
    let all: Vec<_> = all.map(|(name, value)| format!("{name} {value}")).collect();
    format!("settings: {}", all.join(", "))
}

fn records_line(records: &Records) -> String {
    let mut line = format!(
        "records: {} produced, {} delivered, {} missing, {} duplicates, {} reordered",
        records.produced, records.delivered, records.missing, records.duplicates, records.reordered
    );
    for (reason, dropped) in &records.dropped {
        line += &format!(", {dropped} dropped ({reason})");
    }
    line
}

fn markdown_table(header: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = row(header.iter().map(|h| (*h).to_owned()).collect());
    out += &row(header.iter().map(|_| "---".to_owned()).collect());
    for cells in rows {
        out += &row(cells
            .iter()
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
            .collect());
    }
    out
}
