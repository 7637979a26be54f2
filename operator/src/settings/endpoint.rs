//! Endpoints that experiments may name: taken apart, compared, and kept away from where no stream can be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// An endpoint: scheme, host and port, each in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: String,
    /// Names in lower case without the final dot; addresses as addresses, however they were written.
    host: Host,
    port: u16,
}

impl Endpoint {
    /// Reads `http://HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that begins with "is".
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let url = Url::parse(text.trim()).map_err(|error| format!("is `{shown}`, which is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("is `{shown}`: expected http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown again: it may be a password.
            return Err(
                "is a URL with a user name or a password: endpoints get no credentials, take them out".to_owned(),
            );
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "is `{shown}`: expected scheme, host and port alone, as http://localstack:4566"
            ));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(format!("is `{shown}`, which names no host"));
        };
        let host = match host {
            Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_ascii_lowercase()),
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(address) => plain(address),
        };
        let scheme = url.scheme().to_owned();
        Ok(Self { scheme, host, port })
    }

    /// What is at the host that no experiment has any business with; `None`: nothing known.
    pub fn forbidden(&self, api_server: Option<&str>) -> Option<&'static str> {
        forbidden(&self.host, api_server)
    }
}

/// What is at an address that a name resolved to, as [`Endpoint::forbidden`].
pub(super) fn forbidden_address(address: IpAddr, api_server: Option<&str>) -> Option<&'static str> {
    let host = match address {
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => plain(address),
    };
    forbidden(&host, api_server)
}

fn forbidden(host: &Host, api_server: Option<&str>) -> Option<&'static str> {
    let api = api_server.and_then(|host| Host::parse(&bracketed(host)).ok());
    if api.is_some_and(|api| api == *host) {
        return Some("the cluster's API server");
    }
    match host {
        Host::Ipv4(address) => forbidden_v4(*address),
        Host::Ipv6(address) => forbidden_v6(*address),
        Host::Domain(name) => forbidden_name(name),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}")?;
        let usual = if scheme == "https" { 443 } else { 80 };
        if *port == usual { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// One entry of the allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This endpoint, whatever is there.
    Exactly(Endpoint),
    /// Every name that ends so (`https://*.example.com`; `https://*`: every host), unless what is there is forbidden.
    Below {
        /// `http` or `https`.
        scheme: String,
        /// What the name ends with, its dot included; empty: every host.
        suffix: String,
        /// The port.
        port: u16,
    },
}

impl Allowed {
    /// Reads an endpoint, or one with `*` in place of the host or of its first names.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence that begins with "is".
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('*') {
            return Endpoint::parse(text).map(Self::Exactly);
        }
        let Endpoint { scheme, host, port } = Endpoint::parse(&text.replacen('*', "any", 1))?;
        let name = host.to_string();
        let suffix = match name.strip_prefix("any") {
            Some(suffix) if text.contains("://*") && (suffix.is_empty() || suffix.starts_with('.')) => suffix,
            _ => {
                return Err(format!(
                    "is `{}`: a `*` stands in front only, as https://*.example.com",
                    text.escape_debug()
                ));
            }
        };
        Ok(Self::Below {
            scheme,
            suffix: suffix.to_owned(),
            port,
        })
    }

    /// Whether the entry is about this endpoint.
    pub fn covers(&self, endpoint: &Endpoint, api_server: Option<&str>) -> bool {
        match self {
            Self::Exactly(allowed) => allowed == endpoint,
            Self::Below { scheme, suffix, port } => {
                let below = match &endpoint.host {
                    Host::Domain(name) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
                    Host::Ipv4(_) | Host::Ipv6(_) => suffix.is_empty(),
                };
                below
                    && *scheme == endpoint.scheme
                    && *port == endpoint.port
                    && endpoint.forbidden(api_server).is_none()
            }
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(endpoint) => endpoint.fmt(f),
            Self::Below { scheme, suffix, port } => write!(f, "{scheme}://*{suffix}:{port}"),
        }
    }
}

/// An address of version 4 that is written as one of version 6 is the same address.
fn plain(address: Ipv6Addr) -> Host {
    match address.to_canonical() {
        IpAddr::V4(address) => Host::Ipv4(address),
        IpAddr::V6(address) => Host::Ipv6(address),
    }
}

fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]")
    } else {
        host.to_ascii_lowercase()
    }
}

const LOOPBACK: &str = "the pod itself (loopback)";
const METADATA: &str = "the cloud's metadata service or a link-local address";

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_loopback() || address.octets()[0] == 0 {
        Some(LOOPBACK)
    } else if address.is_link_local() {
        Some(METADATA)
    } else if address.is_multicast() || address.is_broadcast() {
        Some("no single host")
    } else {
        None
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    if address.is_loopback() || address.is_unspecified() {
        Some(LOOPBACK)
    } else if (parts[0] == 0xfd00 && parts[1] == 0x0ec2) || parts[0] & 0xffc0 == 0xfe80 {
        Some(METADATA)
    } else if address.is_multicast() {
        Some("no single host")
    } else if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] || parts[..6] == [0; 6] {
        // A translated address (NAT64) or one in the old compatible form: what counts is the one inside.
        let [a, b] = parts[6].to_be_bytes();
        let [c, d] = parts[7].to_be_bytes();
        forbidden_v4(Ipv4Addr::new(a, b, c, d))
    } else {
        None
    }
}

fn forbidden_name(name: &str) -> Option<&'static str> {
    let is_or_below = |host: &str| name == host || name.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'));
    if is_or_below("localhost") {
        Some(LOOPBACK)
    } else if [
        "metadata.google.internal",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
    ]
    .contains(&name)
    {
        Some(METADATA)
    } else if name == "kubernetes" || name == "kubernetes.default" || name.starts_with("kubernetes.default.svc") {
        Some("the cluster's API server")
    } else {
        None
    }
}
