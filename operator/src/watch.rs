//! The watches: stores of our pods, StatefulSets and Deployments, and proofs of death. Client required.
