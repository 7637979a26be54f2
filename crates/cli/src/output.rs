//! Data on stdout, in the format that was asked for.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::is_closed_pipe;

/// The formats of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns for people.
    Wide,
    /// JSON, for programs.
    Json,
    /// YAML, for programs and people.
    Yaml,
}

/// Something a command can show: as serde sees it, and as text.
pub(crate) trait Shown: Serialize {
    /// The text of `-o table`, and with `wide` that of `-o wide`; ends without a line break.
    fn text(&self, wide: bool) -> String;
}

/// Writes it to stdout. That nobody reads it any more is no failure: the exit code still says how the command ended.
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk.
pub(crate) fn show(format: Format, data: &impl Shown) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => data.text(false),
        Format::Wide => data.text(true),
        Format::Json => serde_json::to_string_pretty(data)?,
        Format::Yaml => serde_saphyr::to_string(data)?.trim_end().to_owned(),
    };
    match line(&text) {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        written => written,
    }
}

/// Writes it to stdout on one line, for a stream of them: compact JSON, or the text.
pub(crate) fn show_next(format: Format, data: &impl Shown) -> anyhow::Result<()> {
    match format {
        Format::Json => line(&serde_json::to_string(data)?),
        Format::Yaml => line(&format!("---\n{}", serde_saphyr::to_string(data)?.trim_end())),
        Format::Table | Format::Wide => line(&data.text(format == Format::Wide)),
    }
}

/// Writes one text and a line break to stdout at once.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Writes a text to stdout at once, as it is.
pub(crate) fn draw(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Whether stdout is a terminal that may be redrawn.
pub(crate) fn interactive() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A table without rules around its cells: the header in capitals, two spaces between columns.
pub(crate) fn table<H: AsRef<str>>(header: impl IntoIterator<Item = H>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        header
            .into_iter()
            .map(|name| name.as_ref().to_uppercase())
            .collect::<Vec<_>>(),
    );
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
