//! Assertions, accepted and judged.
