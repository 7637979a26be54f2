//! What survives a restart: the run's ConfigMap with what was seen, and at its end the report. Client required.
