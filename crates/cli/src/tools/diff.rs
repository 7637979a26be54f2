//! `kinex diff`: two reports side by side.

use std::path::Path;

use super::comparison::Comparison;
use super::report::read;
use crate::exit::Code;
use crate::output::{Format, show};

/// Prints the comparison.
pub(crate) fn run(a: &Path, b: &Path, output: Format) -> anyhow::Result<Code> {
    let (first, second) = (read(a)?, read(b)?);
    let (a, b) = (a.display().to_string(), b.display().to_string());
    show(output, &Comparison::of((&a, &first), (&b, &second)))?;
    Ok(Code::Done)
}
