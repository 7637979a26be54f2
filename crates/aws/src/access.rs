//! Where the services are, and with which credentials they are asked.

/// Which AWS to talk to. `Access::default()` is the real one, as the environment configures it.
///
/// A custom endpoint never gets real credentials unless `send_credentials` says so: it gets fixed dummy ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// An endpoint that speaks the protocols of both services: `http://127.0.0.1:4567`.
    pub endpoint: Option<String>,
    /// An endpoint for Kinesis only; before `endpoint`.
    pub kinesis_endpoint: Option<String>,
    /// An endpoint for DynamoDB only; before `endpoint`.
    pub dynamodb_endpoint: Option<String>,
    /// The region. None given: what the environment says, and `us-east-1` at a custom endpoint.
    pub region: Option<String>,
    /// Custom endpoints get the credentials of the environment: for endpoints that are AWS's own (VPC, FIPS).
    pub send_credentials: bool,
}

impl Access {
    /// One custom endpoint for both services.
    pub fn endpoint(url: impl Into<String>) -> Self {
        Self {
            endpoint: Some(url.into()),
            ..Self::default()
        }
    }
}
