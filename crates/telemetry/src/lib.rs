//! Logs, the metrics registry and the admin server
