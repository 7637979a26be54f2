//! What is told as Kubernetes events: the difference of two statuses. No client but for publishing.
