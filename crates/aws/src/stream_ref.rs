//! A stream by its name or by its ARN.
//!
//! Every API but CreateStream takes both, and GetRecords takes the ARN alone. With the ARN a stream of another account can
//! be read, as far as its resource policy allows.

/// The name of a stream that is given by its name or its ARN: what an ARN has after `stream/`.
pub fn stream_name(stream: &str) -> &str {
    match arn(stream) {
        Some(_) => stream.rsplit_once(":stream/").map_or(stream, |(_, name)| name),
        None => stream,
    }
}

/// The name, unless it is an ARN.
pub(crate) fn name(stream: &str) -> Option<String> {
    arn(stream).is_none().then(|| stream.to_owned())
}

/// The ARN, if it is one.
pub(crate) fn arn(stream: &str) -> Option<String> {
    stream.starts_with("arn:").then(|| stream.to_owned())
}

/// The region of an ARN.
pub(crate) fn region(stream: &str) -> Option<&str> {
    stream.strip_prefix("arn:")?.split(':').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_name_whether_given_by_it_or_by_its_arn() {
        let whole = "arn:aws:kinesis:eu-west-1:111122223333:stream/orders";
        assert_eq!(stream_name("orders"), "orders");
        assert_eq!(stream_name(whole), "orders");
        assert_eq!((name("orders"), arn("orders")), (Some("orders".into()), None));
        assert_eq!((name(whole), arn(whole)), (None, Some(whole.into())));
        assert_eq!(region(whole), Some("eu-west-1"));
        assert_eq!(region("orders"), None);
    }
}
