//! Logs, the metrics registry and the admin server.
//!
//! It knows nothing of whose metrics these are: a program registers its own with [`Metrics::registry`], names what it
//! still waits for with [`Health`], and serves both with [`Admin`].

pub mod admin;
pub mod counts;
pub mod health;
pub mod interrupts;
pub mod log;
pub mod metrics;

pub use admin::Admin;
pub use counts::Counts;
pub use health::Health;
pub use interrupts::Interrupts;
pub use metrics::Metrics;
