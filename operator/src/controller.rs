//! The loop: which experiment is looked at when, and the order of the rooms. Client required.
