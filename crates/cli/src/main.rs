//! The `kinex` command.
fn main() {}
