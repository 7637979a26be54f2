//! What an experiment with `deletionPolicy: Delete` takes with it. Client required.
