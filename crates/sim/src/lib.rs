//! Deterministic simulation of the lease protocol
