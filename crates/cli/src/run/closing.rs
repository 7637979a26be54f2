//! The closing words of a run, for a terminal.

use kinex_stage::report::markdown::{PHASES, facts, headline, phase_row};
use kinex_stage::report::summary::Summary;

use crate::output::{Shown, table};

impl Shown for Summary {
    fn text(&self, _wide: bool) -> String {
        closing(self)
    }
}

fn closing(summary: &Summary) -> String {
    let mut lines = vec![
        table(PHASES, summary.phases.iter().map(phase_row).collect()),
        String::new(),
    ];
    lines.extend(facts(summary));
    lines.push(headline(summary));
    lines.join("\n")
}
