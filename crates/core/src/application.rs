//! What an application may be called: its name is the name of its lease table, and begins that of its workers' table.

use std::borrow::Cow;
use std::fmt;

/// What follows the application's name in the name of its workers' table.
pub const WORKERS_SUFFIX: &str = "-workers";

/// The fewest characters of a table's name:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>.
const TABLE_NAME_MIN: usize = 3;
/// The most, on the same page.
const TABLE_NAME_MAX: usize = 255;
/// What the default name of an application has before the name of a stream that is too short for a table.
const SHORT_STREAM_PREFIX: &str = "kinex-";

/// The application's name cannot be the name of a DynamoDB table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    name: String,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` cannot name an application: its tables are NAME and NAME{WORKERS_SUFFIX}, and DynamoDB takes 3 to 255 \
             letters, digits, `_`, `-` and `.`, so a name has {TABLE_NAME_MIN} to {} of these",
            self.name,
            TABLE_NAME_MAX - WORKERS_SUFFIX.len(),
        )
    }
}

impl std::error::Error for InvalidName {}

/// Checks that both tables of an application can have their names.
///
/// # Errors
/// [`InvalidName`] when DynamoDB would refuse one of them.
pub fn check(name: &str) -> Result<(), InvalidName> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if plain && (TABLE_NAME_MIN..=TABLE_NAME_MAX - WORKERS_SUFFIX.len()).contains(&name.len()) {
        Ok(())
    } else {
        Err(InvalidName { name: name.to_owned() })
    }
}

/// The application of a stream for which none is named: called like the stream, or `kinex-STREAM` where the stream's
/// name (which may have one character) is too short for a table.
pub fn default_for(stream: &str) -> Cow<'_, str> {
    if stream.len() < TABLE_NAME_MIN {
        format!("{SHORT_STREAM_PREFIX}{stream}").into()
    } else {
        stream.into()
    }
}

/// The name of an application's workers' table.
pub fn workers_table(application: &str) -> String {
    format!("{application}{WORKERS_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_dynamodb_refuses_for_a_table_is_refused() {
        for good in ["abc", "a.b", "A_1", "1st", &"a".repeat(247)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "ab", "a b", "größe", "a/b", "orders:1", &"a".repeat(248)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn default_for_a_stream_of_any_length_can_name_tables() {
        for stream in ["s", "s4", "abc", &"s".repeat(128)] {
            assert_eq!(check(&default_for(stream)), Ok(()), "{stream}");
        }
        assert_eq!(default_for("s4"), "kinex-s4");
        assert_eq!(default_for("orders"), "orders");
    }
}
