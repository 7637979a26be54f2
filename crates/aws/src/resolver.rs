//! Host names that may resolve to some addresses only.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};

/// Says what is at an address that must not be connected to; `None`: it may be.
type Forbidden = dyn Fn(IpAddr) -> Option<&'static str> + Send + Sync;

/// Which addresses a custom endpoint's host name may resolve to. It is asked about the very addresses that are connected to,
/// so a name that resolves to something else than when it was looked at gains nothing.
#[derive(Clone)]
pub struct AddressRule(Arc<Forbidden>);

impl AddressRule {
    /// `forbidden` names what is at an address that must not be connected to, as "the cloud's metadata service".
    pub fn new(forbidden: impl Fn(IpAddr) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        Self(Arc::new(forbidden))
    }

    /// Every address, or the error that names the first forbidden one.
    fn admit(&self, name: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refused> {
        let refused = addresses
            .iter()
            .find_map(|address| Some((*address, (self.0)(*address)?)));
        match refused {
            Some((address, what)) => Err(Refused {
                name: name.to_owned(),
                address,
                what,
            }),
            None => Ok(addresses),
        }
    }
}

/// Two rules are the same when one is a clone of the other.
impl PartialEq for AddressRule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AddressRule {}

impl fmt::Debug for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressRule")
    }
}

impl ResolveDns for AddressRule {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            self.admit(name, found.map(|socket| socket.ip()).collect())
                .map_err(ResolveDnsError::new)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{name}` resolves to {address}, which is {what}: it is not connected to")]
struct Refused {
    name: String,
    address: IpAddr,
    what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_forbidden_address_refuses_the_name() {
        let rule = AddressRule::new(|address| address.is_loopback().then_some("loopback"));
        let [good, bad]: [IpAddr; 2] = ["10.0.0.1", "127.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(rule.admit("one", vec![good]).unwrap(), [good]);
        let refused = rule.admit("two", vec![good, bad]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`two` resolves to 127.0.0.1, which is loopback: it is not connected to"
        );
    }
}
