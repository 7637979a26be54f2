//! What is kept of one experiment between two looks. No client.
