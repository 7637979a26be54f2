//! The header of a numbered record.

use serde::{Deserialize, Serialize};

use super::{Lane, Source};

/// What a numbered record begins with: `{"kinex":"run/1f0c","lane":7,"n":12}`; the rest of the payload is padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The source.
    #[serde(rename = "kinex")]
    pub source: Source,
    /// The lane.
    pub lane: Lane,
    /// The number inside the lane, from 0.
    pub n: u64,
}

/// A longer one is none of ours.
const HEADER_BYTES_MAX: usize = 512;

impl Header {
    /// The header of a payload; `None` when the record is of somebody else. The padding is not looked at.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let start = &payload[..payload.len().min(HEADER_BYTES_MAX)];
        if !start.starts_with(br#"{"kinex":""#) {
            return None;
        }
        let end = start.iter().position(|byte| *byte == b'}')?;
        serde_json::from_slice(&start[..=end]).ok()
    }

    /// A payload of `bytes` that begins with the header; longer when the header alone is. The whole is valid JSON.
    pub fn payload(&self, bytes: usize) -> Vec<u8> {
        let mut payload = serde_json::to_vec(self).expect("text and numbers are JSON");
        if payload.len() < bytes {
            payload.resize(bytes, b' ');
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_header_comes_back_as_it_was() {
        let header = Header {
            source: "run-1/0a1b".to_owned(),
            lane: 255,
            n: u64::MAX,
        };
        for bytes in [0, 64, 256, 1_000] {
            let payload = header.payload(bytes);
            assert!(payload.len() >= bytes);
            assert_eq!(Header::parse(&payload), Some(header.clone()));
            assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        }
    }

    #[test]
    fn records_of_others_have_no_header() {
        let others: [&[u8]; 6] = [
            b"",
            b"hello",
            br#"{"kinex":"x""#,
            br#"{"kinex":"x"}"#,
            br#"{"kinex":7,"lane":0,"n":1}"#,
            &[0xff; 600],
        ];
        for payload in others {
            assert_eq!(Header::parse(payload), None, "{payload:?}");
        }
    }
}
