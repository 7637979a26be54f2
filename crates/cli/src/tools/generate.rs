//! What is printed from the program itself: the schema of the summary, completions, manual pages.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Args;
use crate::exit::Code;
use crate::output::line;
use kinex_stage::report::summary::Summary;

/// The JSON Schema of `summary.json`.
pub(crate) fn schema() -> anyhow::Result<Code> {
    let schema = schemars::schema_for!(Summary);
    line(&serde_json::to_string_pretty(&schema)?)?;
    Ok(Code::Done)
}

/// The completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Code> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kinex", &mut text);
    line(String::from_utf8(text)?.trim_end())?;
    Ok(Code::Done)
}

/// The manual page of `kinex`, or with a directory one file per command.
pub(crate) fn man(directory: Option<&Path>) -> anyhow::Result<Code> {
    match directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            clap_mangen::generate_to(Args::command(), directory)?;
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut text)?;
            line(String::from_utf8(text)?.trim_end())?;
        }
    }
    Ok(Code::Done)
}
