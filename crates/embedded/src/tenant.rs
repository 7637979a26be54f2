//! Whose streams and tables a request is about: the account and the region of its signature.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The account of access keys that name none.
const ACCOUNT: &str = "000000000000";
/// The region of requests that are not signed.
const REGION: &str = "us-east-1";
/// Longer names are no regions.
const REGION_MAX: usize = 64;

/// An account in a region. Each has streams and tables of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tenant {
    pub(crate) account: String,
    pub(crate) region: String,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
        }
    }
}

impl Tenant {
    /// The region that the request was signed for. An access key of 12 digits is an account; all others are one account.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let scope = access_key_scope(headers).unwrap_or_default();
        let mut parts = scope.split('/');
        let account = parts
            .next()
            .filter(|key| key.len() == ACCOUNT.len() && key.bytes().all(|byte| byte.is_ascii_digit()))
            .unwrap_or(ACCOUNT);
        let region = parts
            .nth(1)
            .filter(|region| {
                (1..=REGION_MAX).contains(&region.len())
                    && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
            .unwrap_or(REGION);
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
        }
    }

    /// What the ARNs of a service's resources begin with, such as `arn:aws:kinesis:us-east-1:000000000000:`.
    pub(crate) fn arn_prefix(&self, service: &str) -> String {
        let Self { account, region } = self;
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:{service}:{region}:{account}:")
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, region } = self;
        write!(f, "account {account} in {region}")
    }
}

/// The credential scope of a signature: `KEY/DATE/REGION/SERVICE/aws4_request`.
pub(crate) fn access_key_scope(headers: &HeaderMap) -> Option<&str> {
    let signature = headers.get(AUTHORIZATION)?.to_str().ok()?;
    signature.split_once("Credential=")?.1.split([',', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_names_account_and_region() {
        let check = |authorization: Option<&str>, account: &str, prefix: &str| {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            let tenant = Tenant::of(&headers);
            assert_eq!(
                (tenant.account.as_str(), tenant.arn_prefix("kinesis").as_str()),
                (account, prefix),
                "{authorization:?}"
            );
        };
        let signed = |scope: &str| {
            format!("AWS4-HMAC-SHA256 Credential={scope}/kinesis/aws4_request, SignedHeaders=host, Signature=0")
        };
        let check_scope = |scope: &str, account: &str, prefix: &str| check(Some(&signed(scope)), account, prefix);
        check(None, ACCOUNT, "arn:aws:kinesis:us-east-1:000000000000:");
        check(Some("Bearer x"), ACCOUNT, "arn:aws:kinesis:us-east-1:000000000000:");
        check(Some("Credential="), ACCOUNT, "arn:aws:kinesis:us-east-1:000000000000:");
        check_scope(
            "foo/20260101/eu-central-1",
            ACCOUNT,
            "arn:aws:kinesis:eu-central-1:000000000000:",
        );
        check_scope(
            "123456789012/20260101/cn-north-1",
            "123456789012",
            "arn:aws-cn:kinesis:cn-north-1:123456789012:",
        );
        check_scope(
            "1234567890123/20260101/us-gov-west-1",
            ACCOUNT,
            "arn:aws-us-gov:kinesis:us-gov-west-1:000000000000:",
        );
        check_scope("x/20260101/a_b", ACCOUNT, "arn:aws:kinesis:us-east-1:000000000000:");
        check_scope("x/20260101/\u{7e}", ACCOUNT, "arn:aws:kinesis:us-east-1:000000000000:");
    }
}
