//! The opaque texts that clients carry from call to call: shard iterators and tokens of listings.
//!
//! A token is base64 of its fields and a digest, so that garbage and tokens of another kind are told from expired ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

/// How long an iterator or a listing token lives.
pub(super) const LIFE_MILLIS: u64 = 300_000;

/// Puts fields into a token of this kind. Only the last field may contain a space.
pub(super) fn encode(kind: &str, fields: &[&str]) -> String {
    let text = format!("{kind} {}", fields.join(" "));
    STANDARD.encode(format!("{} {text}", digest(&text)))
}

/// The `N` fields of a token of this kind; `None` when it is none of ours.
pub(super) fn decode<const N: usize>(kind: &str, token: &str) -> Option<[String; N]> {
    let bytes = STANDARD.decode(token).ok()?;
    let (told, text) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
    let fields = text.strip_prefix(kind)?.strip_prefix(' ')?;
    if told != digest(text) {
        return None;
    }
    fields
        .splitn(N, ' ')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .try_into()
        .ok()
}

fn digest(text: &str) -> String {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    format!("{:016x}", u128::from_be_bytes(digest) >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_its_fields_back_only_to_its_own_kind() {
        let token = encode("iterator", &["orders", "7", "a b"]);
        assert_eq!(
            decode("iterator", &token),
            Some(["orders", "7", "a b"].map(str::to_owned))
        );
        assert_eq!(decode::<3>("listing", &token), None);
        assert_eq!(decode::<3>("iterator", "garbage"), None);
        assert_eq!(decode::<3>("iterator", &STANDARD.encode("0 iterator orders 7 a")), None);
    }
}
