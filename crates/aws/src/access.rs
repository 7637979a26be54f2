//! Where the services are, and with which credentials they are asked.

use std::fmt;

use crate::AddressRule;

/// Which AWS to talk to. `Access::default()` is the real one, as the environment configures it.
///
/// A custom endpoint never gets real credentials unless `send_credentials` says so: it gets fixed dummy ones. That holds
/// for `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_KINESIS` and `AWS_ENDPOINT_URL_DYNAMODB` as well, which are read when the
/// fields leave an endpoint open.
///
/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed, but for endpoints on this machine.
/// `AWS_CA_BUNDLE` names a file with certificates in PEM that are trusted besides the machine's.
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
    /// Where the host names of custom endpoints may lead; `None`: anywhere. A proxy resolves names itself, and is not bound by it.
    pub addresses: Option<AddressRule>,
}

impl Access {
    /// One custom endpoint for both services.
    pub fn endpoint(url: impl Into<String>) -> Self {
        Self {
            endpoint: Some(url.into()),
            ..Self::default()
        }
    }

    /// The custom endpoints of Kinesis and DynamoDB, in this order; `None`: the real service.
    pub(crate) fn endpoints(&self, env: impl Fn(&str) -> Option<String>) -> [Option<String>; 2] {
        let of = |own: &Option<String>, variable: &str| {
            let given = own.clone().or_else(|| self.endpoint.clone());
            let url = given.or_else(|| env(variable)).or_else(|| env("AWS_ENDPOINT_URL"));
            url.filter(|url| !url.is_empty())
        };
        [
            of(&self.kinesis_endpoint, "AWS_ENDPOINT_URL_KINESIS"),
            of(&self.dynamodb_endpoint, "AWS_ENDPOINT_URL_DYNAMODB"),
        ]
    }
}

/// An endpoint, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    site: Site,
    /// The proxy in between, and the variable that names it.
    proxy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Site {
    /// A custom endpoint.
    Custom(String),
    /// The real service in a region.
    Aws(String),
}

impl Place {
    pub(crate) fn custom(url: &str) -> Self {
        Self {
            site: Site::Custom(url.to_owned()),
            proxy: None,
        }
    }

    pub(crate) fn aws(region: &str) -> Self {
        Self {
            site: Site::Aws(region.to_owned()),
            proxy: None,
        }
    }

    /// The same through a proxy.
    pub(crate) fn through(self, proxy: Option<String>) -> Self {
        Self { proxy, ..self }
    }

    /// The proxy in between.
    pub(crate) fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    /// The region of the real service.
    pub(crate) fn region(&self) -> Option<&str> {
        match &self.site {
            Site::Custom(_) => None,
            Site::Aws(region) => Some(region),
        }
    }

    /// What to do when it cannot be reached.
    pub(crate) fn remedy(&self) -> &'static str {
        match &self.site {
            _ if self.proxy.is_some() => {
                "check the proxy and what it allows, or name hosts to reach without it in NO_PROXY"
            }
            Site::Custom(url) if on_this_machine(url) => "is the emulator running? start it with `kinex emulator`",
            Site::Custom(_) => "check that what serves it runs, and that it can be reached from here",
            Site::Aws(_) => "check the network and the region; where a proxy is needed, set HTTPS_PROXY",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Site::Custom(url) => f.write_str(url),
            Site::Aws(region) => write!(f, "AWS in {region}"),
        }
    }
}

pub(crate) fn on_this_machine(url: &str) -> bool {
    let place = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = place.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            host
        } else {
            place
        }
    });
    let loopback = |address: std::net::Ipv4Addr| address.is_loopback();
    host == "localhost" || host.starts_with("[::1]") || host.parse().is_ok_and(loopback)
}

/// Why a text is no endpoint.
pub(crate) fn endpoint_flaw(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("it must start with http:// or https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        Some("it must start with http:// or https://")
    } else if host.is_empty() || host.starts_with(':') || url.chars().any(char::is_whitespace) {
        Some("it names no host")
    } else if host.contains('@') {
        Some("it must not hold a user name or a password")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_a_service_goes_before_that_of_both() {
        let access = Access {
            kinesis_endpoint: Some("http://k:1".into()),
            ..Access::endpoint("http://both:1")
        };
        let [kinesis, dynamodb] = access.endpoints(|_| Some("http://env:1".into()));
        assert_eq!(kinesis.as_deref(), Some("http://k:1"));
        assert_eq!(dynamodb.as_deref(), Some("http://both:1"));
    }

    #[test]
    fn only_on_this_machine_is_an_emulator_to_be_started() {
        for url in ["http://127.0.0.1:4567", "http://localhost:4566", "http://[::1]:4566"] {
            assert!(Place::custom(url).remedy().contains("kinex emulator"), "{url}");
        }
        for url in ["http://kinex-endpoint.kinex.svc:4566", "https://198.18.0.1:4566"] {
            let remedy = Place::custom(url).remedy();
            assert_eq!(
                remedy,
                "check that what serves it runs, and that it can be reached from here"
            );
        }
    }

    #[test]
    fn an_endpoint_of_the_environment_is_a_custom_one() {
        let env = |name: &str| (name == "AWS_ENDPOINT_URL_DYNAMODB").then(|| "http://env:1".to_owned());
        assert_eq!(Access::default().endpoints(env), [None, Some("http://env:1".into())]);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "localhost:4566",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a b",
            "http://me:secret@host",
        ] {
            assert!(endpoint_flaw(url).is_some(), "{url}");
        }
        for url in [
            "http://127.0.0.1:4567",
            "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com/",
            "http://[::1]:80",
        ] {
            assert_eq!(endpoint_flaw(url), None, "{url}");
        }
    }
}
