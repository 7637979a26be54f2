//! Numbers as people read them.

/// Counts per worker as a person says them: `7/7/6`.
pub fn slashed(counts: impl IntoIterator<Item = usize>) -> String {
    let counts: Vec<_> = counts.into_iter().map(|n| n.to_string()).collect();
    if counts.is_empty() {
        "-".to_owned()
    } else {
        counts.join("/")
    }
}

/// Seconds with one decimal, or a dash.
pub fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"))
}
