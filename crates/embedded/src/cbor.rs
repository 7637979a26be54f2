//! CBOR 1.1, which the AWS SDK for Java speaks to Kinesis: the same requests and answers as in JSON 1.1, except that data is
//! a byte string and a time is a tagged number of milliseconds.
//!
//! A request becomes JSON before anything else sees it, and an answer becomes CBOR after everything else: services,
//! counters and the fault plan know only JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ciborium_ll::{Decoder, Encoder, Error, Header, simple};
use serde_json::{Map, Number, Value};

/// What clients and this endpoint call the format.
pub(crate) const CONTENT_TYPE: &str = "application/x-amz-cbor-1.1";

/// The deepest request of Kinesis has three levels.
const DEPTH_MAX: usize = 16;
/// PutRecords with 500 records has fewer than 5,000 items; each item costs memory, however short it is.
const ITEMS_MAX: usize = 20_000;
/// The tag of a time: a number of milliseconds since the Unix epoch, where RFC 8949 has seconds.
const TIME: u64 = 1;
/// The fields that are byte strings.
const DATA: &str = "Data";
/// The map whose names are a caller's own.
const TAGS: &str = "Tags";
/// What the names of all fields end with that are times.
const TIMES: &str = "Timestamp";

/// A request's body as JSON.
///
/// # Errors
/// What is wrong with it, as a sentence for a person.
pub(crate) fn to_json(body: &[u8]) -> Result<Vec<u8>, String> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader {
        decoder: Decoder::from(body),
        length: body.len(),
        items: 0,
    };
    let value = match reader.pull()? {
        Header::Map(length) => reader.map(length, "", 0)?,
        _ => return Err("the CBOR body is not a map".to_owned()),
    };
    if reader.decoder.offset() != body.len() {
        return Err("the CBOR body goes on after its map".to_owned());
    }
    Ok(value.to_string().into_bytes())
}

/// An answer's JSON as CBOR. What is not JSON stays as it is.
pub(crate) fn from_json(body: &[u8]) -> Vec<u8> {
    let Ok(value) = serde_json::from_slice(body) else {
        return body.to_vec();
    };
    let mut encoded = Vec::with_capacity(body.len());
    write(&mut Encoder::from(&mut encoded), "", "", &value);
    encoded
}

struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    length: usize,
    items: usize,
}

impl Reader<'_> {
    fn pull(&mut self) -> Result<Header, String> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            return Err(format!("the CBOR body has more than {ITEMS_MAX} items"));
        }
        self.decoder.pull().map_err(broken)
    }

    fn value(&mut self, header: Header, field: &str, within: &str, depth: usize) -> Result<Value, String> {
        // A tag may have any name.
        let is_data = field == DATA && within != TAGS;
        if is_data && !matches!(header, Header::Bytes(_) | Header::Simple(simple::NULL)) {
            return Err(format!("{field} must be a CBOR byte string"));
        }
        Ok(match header {
            Header::Positive(number) => number.into(),
            Header::Negative(number) => i64::try_from(number)
                .map(|number| -1 - number)
                .map_err(|_| format!("{field} is below every integer of Kinesis"))?
                .into(),
            Header::Float(number) => Number::from_f64(number)
                .ok_or_else(|| format!("{field} is not a finite number"))?
                .into(),
            Header::Simple(simple::FALSE) => false.into(),
            Header::Simple(simple::TRUE) => true.into(),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Value::Null,
            Header::Simple(number) => return Err(format!("{field} has the simple CBOR value {number}")),
            Header::Tag(TIME) => self.time(field)?,
            Header::Tag(tag) => {
                return Err(format!(
                    "{field} has the CBOR tag {tag}; only times are tagged, with {TIME}"
                ));
            }
            Header::Break => return Err("the CBOR body has a break outside of an indefinite length".to_owned()),
            Header::Bytes(length) if is_data => STANDARD.encode(self.bytes(length)?).into(),
            Header::Bytes(_) => return Err(format!("{field} must not be a CBOR byte string")),
            Header::Text(length) => self.text(length)?.into(),
            Header::Array(length) => self.array(length, field, depth + 1)?,
            Header::Map(length) => self.map(length, field, depth + 1)?,
        })
    }

    /// Seconds, as JSON has them.
    fn time(&mut self, field: &str) -> Result<Value, String> {
        let millis = match self.pull()? {
            Header::Positive(millis) => i64::try_from(millis).ok(),
            Header::Negative(millis) => i64::try_from(millis).ok().map(|millis| -1 - millis),
            #[expect(clippy::cast_possible_truncation, reason = "such casts saturate")]
            Header::Float(millis) if millis.is_finite() => Some(millis as i64),
            _ => None,
        };
        let millis = millis.ok_or_else(|| format!("{field} is not a number of milliseconds since the Unix epoch"))?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of the next millennia fit into 53 bits"
        )]
        Ok((millis as f64 / 1_000.0).into())
    }

    fn array(&mut self, length: Option<usize>, field: &str, depth: usize) -> Result<Value, String> {
        check_depth(depth)?;
        let mut values = Vec::new();
        while length.is_none_or(|length| values.len() < length) {
            match self.pull()? {
                Header::Break if length.is_none() => break,
                header => values.push(self.value(header, field, "", depth)?),
            }
        }
        Ok(values.into())
    }

    fn map(&mut self, length: Option<usize>, within: &str, depth: usize) -> Result<Value, String> {
        check_depth(depth)?;
        let mut fields = Map::new();
        while length.is_none_or(|length| fields.len() < length) {
            let field = match self.pull()? {
                Header::Break if length.is_none() => break,
                Header::Text(length) => self.text(length)?,
                _ => return Err("the CBOR body has a field whose name is not a text".to_owned()),
            };
            let header = self.pull()?;
            let value = self.value(header, &field, within, depth)?;
            if fields.insert(field.clone(), value).is_some() {
                return Err(format!("{field} stands twice in one CBOR map"));
            }
        }
        Ok(fields.into())
    }

    fn text(&mut self, length: Option<usize>) -> Result<String, String> {
        self.check_length(length)?;
        let mut text = String::new();
        let mut buffer = [0; 4_096];
        let mut segments = self.decoder.text(length);
        while let Some(mut segment) = segments.pull().map_err(broken)? {
            while let Some(part) = segment.pull(&mut buffer).map_err(broken)? {
                text.push_str(part);
            }
        }
        Ok(text)
    }

    fn bytes(&mut self, length: Option<usize>) -> Result<Vec<u8>, String> {
        self.check_length(length)?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4_096];
        let mut segments = self.decoder.bytes(length);
        while let Some(mut segment) = segments.pull().map_err(broken)? {
            while let Some(part) = segment.pull(&mut buffer).map_err(broken)? {
                bytes.extend_from_slice(part);
            }
        }
        Ok(bytes)
    }

    /// Refuses a string that claims to be longer than what is left.
    fn check_length(&mut self, length: Option<usize>) -> Result<(), String> {
        let left = self.length - self.decoder.offset();
        match length {
            Some(length) if length > left => Err("the CBOR body ends too early".to_owned()),
            _ => Ok(()),
        }
    }
}

fn check_depth(depth: usize) -> Result<(), String> {
    if depth < DEPTH_MAX {
        Ok(())
    } else {
        Err(format!("the CBOR body is nested more than {DEPTH_MAX} levels deep"))
    }
}

fn broken<E>(error: Error<E>) -> String {
    match error {
        Error::Io(_) => "the CBOR body ends too early".to_owned(),
        Error::Syntax(offset) => format!("the CBOR body is malformed at byte {offset}"),
    }
}

/// Why writing cannot fail.
const VECTOR: &str = "a vector takes everything";

fn write(encoder: &mut Encoder<&mut Vec<u8>>, field: &str, within: &str, value: &Value) {
    let written = match value {
        Value::Null => encoder.push(Header::Simple(simple::NULL)),
        Value::Bool(true) => encoder.push(Header::Simple(simple::TRUE)),
        Value::Bool(false) => encoder.push(Header::Simple(simple::FALSE)),
        Value::Number(number) => write_number(encoder, field, number),
        Value::String(text) => match STANDARD.decode(text) {
            Ok(data) if field == DATA && within != TAGS => encoder.bytes(&data, None),
            _ => encoder.text(text, None),
        },
        Value::Array(values) => {
            let written = encoder.push(Header::Array(Some(values.len())));
            values.iter().for_each(|value| write(encoder, field, "", value));
            written
        }
        Value::Object(fields) => {
            let written = encoder.push(Header::Map(Some(fields.len())));
            for (name, value) in fields {
                encoder.text(name, None).expect(VECTOR);
                write(encoder, name, field, value);
            }
            written
        }
    };
    written.expect(VECTOR);
}

fn write_number(encoder: &mut Encoder<&mut Vec<u8>>, field: &str, number: &Number) -> std::io::Result<()> {
    if field.ends_with(TIMES) {
        encoder.push(Header::Tag(TIME))?;
        #[expect(clippy::cast_possible_truncation, reason = "such casts saturate")]
        let millis = (number.as_f64().unwrap_or_default() * 1_000.0).round() as i64;
        return encoder.push(integer(millis));
    }
    encoder.push(match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => Header::Positive(number),
        (None, Some(number)) => integer(number),
        (None, None) => Header::Float(number.as_f64().unwrap_or_default()),
    })
}

const fn integer(number: i64) -> Header {
    if number < 0 {
        Header::Negative(number.unsigned_abs() - 1)
    } else {
        Header::Positive(number.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: &[u8]) -> Result<Value, String> {
        to_json(body).map(|body| serde_json::from_slice(&body).unwrap())
    }

    /// A text of fewer than 24 bytes.
    fn short(text: &str) -> Vec<u8> {
        [&[0x60 + text.len() as u8], text.as_bytes()].concat()
    }

    #[test]
    fn a_request_as_java_writes_it_is_read() {
        // Maps and arrays of indefinite length, data as bytes, a time as tagged milliseconds.
        let mut body = vec![0xbf];
        body.extend(short("Timestamp"));
        body.extend([0xc1, 0x1b]);
        body.extend(1_790_000_000_123u64.to_be_bytes());
        body.extend(short("Records"));
        body.extend([0x9f, 0xbf]);
        body.extend(short("Data"));
        body.extend([0x43, 1, 2, 255]);
        body.extend(short("PartitionKey"));
        body.extend([0x7f, 0x61, b'a', 0x61, b'b', 0xff]);
        body.extend([0xff, 0xff]);
        body.extend(short("Limit"));
        body.extend([0x39, 0x01, 0x00]);
        body.extend(short("Name"));
        body.extend([0xf6, 0xff]);
        assert_eq!(
            read(&body),
            Ok(json!({
                "Timestamp": 1_790_000_000.123,
                "Records": [{ "Data": "AQL/", "PartitionKey": "ab" }],
                "Limit": -257,
                "Name": null,
            }))
        );
        assert_eq!(to_json(b""), Ok(Vec::new()));
        assert_eq!(read(&[0xa0]), Ok(json!({})));
    }

    #[test]
    fn an_answer_has_data_as_bytes_and_times_as_tagged_milliseconds() {
        let answer = json!({ "Data": "AQL/", "StreamCreationTimestamp": 1_790_000_000.123, "Count": 3 });
        let mut expected = vec![0xa3];
        expected.extend(short("Count"));
        expected.push(3);
        expected.extend(short("Data"));
        expected.extend([0x43, 1, 2, 255]);
        expected.extend(short("StreamCreationTimestamp"));
        expected.extend([0xc1, 0x1b]);
        expected.extend(1_790_000_000_123u64.to_be_bytes());
        assert_eq!(from_json(answer.to_string().as_bytes()), expected);
        assert_eq!(from_json(b"<html>"), b"<html>");
    }

    #[test]
    fn a_malformed_body_is_refused_with_one_clear_reason() {
        let check = |body: &[u8], reason: &str| {
            let error = to_json(body).unwrap_err();
            assert!(error.contains(reason), "{body:x?}: {error}");
        };
        check(&[0xbf], "ends too early");
        check(&[0xa1, 0x61], "ends too early");
        check(&[0x80], "not a map");
        check(b"{}", "ends too early");
        check(&[0xa0, 0xa0], "goes on");
        check(&[0xa1, 0x01, 0x01], "not a text");
        check(&[0xa1, 0x61, b'a', 0x41, 0], "a must not be a CBOR byte string");
        check(&[0xa1, 0x64, b'D', b'a', b't', b'a', 0x61, b'x'], "Data must be");
        check(&[0xa1, 0x61, b'a', 0xc2, 0x01], "tag 2");
        check(
            &[0xa1, 0x61, b'a', 0xc1, 0x61, b'x'],
            "a is not a number of milliseconds",
        );
        check(&[0xa1, 0x61, b'a', 0xff], "break");
        check(&[0xa1, 0x61, 0xff, 0x01], "malformed");
        check(&[0xa1, 0x61, b'a', 0xf9, 0x7e, 0x00], "a is not a finite number");
        check(&[0xa2, 0x61, b'a', 1, 0x61, b'a', 2], "a stands twice");
        check(&[0xa1, 0x1c], "malformed");
        // Lengths that no memory has.
        check(
            &[0xa1, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "ends too early",
        );
        check(
            &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "ends too early",
        );
        check(&[[0xa1, 0x61, b'a'].as_slice(), &[0x81; 10_000]].concat(), "nested");
        check(
            &[[0xa1, 0x61, b'a', 0x9f].as_slice(), &[0x01; 100_000]].concat(),
            "more than",
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = to_json(&body);
            let _ = to_json(&[&[0xbf], body.as_slice()].concat());
        }

        #[test]
        fn what_is_written_is_read_back(
            text in ".*",
            data in prop::collection::vec(any::<u8>(), 0..10_000),
            number in any::<i64>(),
            millis in 0u64..4_102_444_800_000,
        ) {
            let value = json!({
                "Text": text,
                "Records": [{ "Data": STANDARD.encode(data) }, {}],
                "Number": number,
                "Timestamp": millis as f64 / 1_000.0,
                "Tags": { "Data": "text" },
                "Flag": true,
                "None": null,
            });
            prop_assert_eq!(read(&from_json(value.to_string().as_bytes())), Ok(value));
        }
    }
}
