//! The consumer program: counts, audits and reports what it reads
