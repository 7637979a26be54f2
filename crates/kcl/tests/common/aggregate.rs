//! Aggregates as the producer library writes them.

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

#[derive(Clone, PartialEq, prost::Message)]
struct Keys {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
}

/// The message of an aggregate. (The library leaves no field out that is zero; nor does this.)
pub fn message(users: &[(&str, &str)]) -> Vec<u8> {
    let keys = users.iter().map(|(key, _)| (*key).to_owned()).collect();
    let mut message = Keys { partition_keys: keys }.encode_to_vec();
    for (index, (_, data)) in users.iter().enumerate() {
        let mut user = vec![0x08];
        prost::encoding::encode_varint(index as u64, &mut user);
        user.push(0x1a);
        prost::encoding::encode_varint(data.len() as u64, &mut user);
        user.extend(data.as_bytes());
        message.push(0x1a);
        prost::encoding::encode_varint(user.len() as u64, &mut message);
        message.extend(user);
    }
    message
}

/// With its marks and its digest.
pub fn sealed(message: &[u8]) -> Bytes {
    let digest = Md5::digest(message);
    [&[0xF3, 0x89, 0x9A, 0xC2], message, &digest[..]].concat().into()
}
