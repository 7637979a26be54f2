//! A hash that is the same in every process, version and language, for ties that must break alike everywhere.

/// FNV-1a with 64 bits over the parts, a byte 0xff between two of them, and the last steps of MurmurHash3 behind it
/// (FNV alone keeps names that differ in their last letter close together).
pub fn stable_hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for (nth, part) in parts.iter().enumerate() {
        if nth > 0 {
            eat(0xff);
        }
        part.bytes().for_each(&mut eat);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Workers of two versions share a table: these values are an interface.
        assert_eq!(stable_hash(&[]), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(&["consumer-pod-1"]), 0xf23e_582d_66dd_0dde);
        assert_eq!(
            stable_hash(&["consumer-pod-1", "shardId-000000000007"]),
            0x09d2_8f9b_7c98_e8f7
        );
        assert_ne!(stable_hash(&["ab", "c"]), stable_hash(&["a", "bc"]));
    }
}
