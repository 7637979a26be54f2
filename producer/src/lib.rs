//! The producer program: numbered records at a held rate
