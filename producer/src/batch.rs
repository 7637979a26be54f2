//! How much fits into one PutRecords.

/// The limits of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Records of one request.
    pub(crate) records: usize,
    /// Bytes of one request: payloads and partition keys.
    pub(crate) bytes: usize,
    /// Bytes of one record, its partition key included.
    pub(crate) record_bytes: usize,
}

impl Default for Limits {
    /// Those of Kinesis; a stream may be set to take records of up to 10 MiB.
    fn default() -> Self {
        Self {
            records: 500,
            bytes: 10 * 1024 * 1024,
            record_bytes: 1024 * 1024,
        }
    }
}

impl Limits {
    /// How many records of this size fit into one request; `None` when not even one may be sent.
    pub(crate) fn fit(&self, record: usize) -> Option<usize> {
        if record > self.record_bytes || record > self.bytes {
            return None;
        }
        Some((self.bytes / record.max(1)).min(self.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: usize, expected: Option<usize>) {
        assert_eq!(Limits::default().fit(record), expected, "{record} bytes");
    }

    #[test]
    fn a_request_holds_500_records_or_10_mib() {
        check(0, Some(500));
        check(256, Some(500));
        check(20_971, Some(500));
        check(20_972, Some(499));
        check(1024 * 1024, Some(10));
        check(1024 * 1024 + 1, None);
    }
}
