//! How the endpoints are connected to: through the HTTP proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
//! and `NO_PROXY`, in capitals or not), with the certificates of `AWS_CA_BUNDLE` besides the machine's.
//!
//! As with other tools, `HTTP_PROXY` in capitals counts for nothing in a CGI process, where a stranger sets it. Unlike
//! some, what listens on this machine is never asked through a proxy, which could only reach itself there.

use std::fmt;
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::AddressRule;
use crate::access::on_this_machine;

/// The variable that names a file of certificates, as for the AWS CLI.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// The proxies, the certificates and the addresses; a cheap value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    https: Option<Proxy>,
    http: Option<Proxy>,
    /// Hosts that are asked directly.
    direct: Option<String>,
    /// Certificates in PEM that are trusted besides the machine's.
    trusted: Option<Arc<[u8]>>,
    /// Where the names of custom endpoints may lead.
    addresses: Option<AddressRule>,
}

/// A proxy, with a user name and a password when the URL names them.
#[derive(Clone, PartialEq, Eq)]
struct Proxy {
    variable: &'static str,
    url: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.shown(), self.variable)
    }
}

impl Proxy {
    /// Whether the proxy itself is spoken to with TLS.
    fn secured(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The URL without user name and password.
    fn shown(&self) -> String {
        without_user(&self.url)
    }
}

fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

impl Connections {
    /// What the environment says. `tls`: some endpoint is an https one; otherwise the certificates do not matter, and a local
    /// endpoint works whatever the variable says.
    ///
    /// # Errors
    /// With the name of the variable when a proxy is no http(s) URL, or the file of certificates cannot be read or has none.
    pub(crate) fn of(tls: bool, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let given = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&'static str]| -> Result<Option<Proxy>, String> {
            let found = names.iter().find_map(|name| Some((*name, given(name)?)));
            found.map(|(name, value)| checked(name, value.trim())).transpose()
        };
        let cgi = given("REQUEST_METHOD").is_some();
        let http: &[&'static str] = if cgi {
            &["http_proxy", "ALL_PROXY", "all_proxy"]
        } else {
            &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        };
        let https = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
        let http = first(http)?;
        let tls = tls || [&https, &http].into_iter().flatten().any(Proxy::secured);
        let bundle = given(CA_BUNDLE).filter(|_| tls);
        Ok(Self {
            https,
            http,
            direct: given("NO_PROXY").or_else(|| given("no_proxy")),
            trusted: bundle.map(|path| certificates(path.trim())).transpose()?,
            addresses: None,
        })
    }

    /// The same, with a rule for the addresses that names of custom endpoints resolve to.
    pub(crate) fn within(self, addresses: Option<AddressRule>) -> Self {
        Self { addresses, ..self }
    }

    /// Without TLS there is no need for the root certificates of the machine (a bare image has none).
    fn trust(&self, tls: bool) -> TlsContext {
        let mut store = TrustStore::empty().with_native_roots(tls);
        if let Some(trusted) = &self.trusted {
            store = store.with_pem_certificate(trusted.to_vec());
        }
        let context = TlsContext::builder().with_trust_store(store).build();
        context.expect("the certificates were read before")
    }

    /// A client for any https URL. What hands out credentials on this machine or instance is http, and asked directly.
    pub(crate) fn https(&self) -> SharedHttpClient {
        match &self.https {
            Some(proxy) => self.through(proxy, true),
            None => self.https_directly(),
        }
    }

    /// A client for one endpoint.
    pub(crate) fn client(&self, url: &str) -> SharedHttpClient {
        let tls = !url.starts_with("http://");
        match self.proxy_for(url) {
            Some(proxy) => self.through(proxy, tls),
            None => match &self.addresses {
                Some(rule) => Builder::new()
                    .tls_provider(Provider::Rustls(CryptoMode::Ring))
                    .tls_context(self.trust(tls))
                    .build_with_resolver(rule.clone()),
                None if !tls => Builder::new().build_http(),
                None => self.https_directly(),
            },
        }
    }

    fn https_directly(&self) -> SharedHttpClient {
        Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(self.trust(true))
            .build_https()
    }

    /// The proxy that an endpoint is asked through, for messages.
    pub(crate) fn shown_for(&self, url: &str) -> Option<String> {
        let proxy = self.proxy_for(url)?;
        Some(format!("{} ({})", proxy.shown(), proxy.variable))
    }

    fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        let proxy = if url.starts_with("http://") {
            &self.http
        } else {
            &self.https
        };
        proxy
            .as_ref()
            .filter(|_| !on_this_machine(url) && !self.direct.as_deref().is_some_and(|list| names(list, host(url))))
    }

    /// A client that asks through a proxy; `tls`: the endpoint is an https one.
    fn through(&self, proxy: &Proxy, tls: bool) -> SharedHttpClient {
        let secured = tls || proxy.secured();
        let (config, trust) = (self.config(proxy, tls), self.trust(secured));
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder().proxy_config(config.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            if secured {
                let connector = connector.tls_provider(Provider::Rustls(CryptoMode::Ring));
                connector.tls_context(trust.clone()).build()
            } else {
                connector.build_http()
            }
        })
    }

    fn config(&self, proxy: &Proxy, tls: bool) -> ProxyConfig {
        let config = if tls {
            ProxyConfig::https(proxy.url.as_str())
        } else {
            ProxyConfig::http(proxy.url.as_str())
        };
        let config = config.expect("checked when it was read");
        match &self.direct {
            Some(direct) => config.no_proxy(direct),
            None => config,
        }
    }
}

/// The certificates of a file.
fn certificates(path: &str) -> Result<Arc<[u8]>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("{CA_BUNDLE} is `{path}`, which cannot be read: {error}"))?;
    let mut found = CertificateDer::pem_slice_iter(&pem);
    match found.next() {
        Some(Ok(_)) if found.all(|one| one.is_ok()) => Ok(pem.into()),
        _ => Err(format!(
            "{CA_BUNDLE} is `{path}`, which has no certificates in PEM, or one that is damaged"
        )),
    }
}

/// A proxy without a scheme is an http one.
fn checked(variable: &'static str, value: &str) -> Result<Proxy, String> {
    let url = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    match ProxyConfig::https(url.as_str()) {
        Ok(_) => Ok(Proxy { variable, url }),
        Err(_) => Err(format!(
            "{variable} is `{}`, which is no proxy: expected http://HOST:PORT or https://HOST:PORT",
            without_user(value)
        )),
    }
}

/// Whether a list of hosts names this one: by `*`, as it is, or by a domain that it is part of.
fn names(list: &str, host: &str) -> bool {
    list.split(',').map(str::trim).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*" || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
    })
}

/// The host of a URL, without its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split('/').next().unwrap_or_default();
    match place.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Connections, String> {
        Connections::of(true, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn check(variables: &[(&str, &str)], url: &str, proxy: Option<&str>) {
        let proxies = of(variables).expect("good proxies");
        assert_eq!(proxies.shown_for(url).as_deref(), proxy, "{variables:?} {url}");
    }

    #[test]
    fn each_scheme_has_its_proxy_and_some_hosts_have_none() {
        let (aws, plain) = ("https://kinesis.eu-west-1.amazonaws.com", "http://emulator.test:4566");
        check(&[], aws, None);
        check(&[("HTTPS_PROXY", "http://p:1")], aws, Some("http://p:1 (HTTPS_PROXY)"));
        check(&[("https_proxy", "p:1")], aws, Some("http://p:1 (https_proxy)"));
        check(&[("HTTPS_PROXY", "http://p:1")], plain, None);
        check(&[("HTTP_PROXY", "http://p:1")], plain, Some("http://p:1 (HTTP_PROXY)"));
        check(&[("HTTP_PROXY", "http://p:1"), ("REQUEST_METHOD", "GET")], plain, None);
        check(&[("ALL_PROXY", "http://p:1")], aws, Some("http://p:1 (ALL_PROXY)"));
        check(&[("HTTPS_PROXY", " ")], aws, None);
        let secret = [("HTTPS_PROXY", "http://me:secret@p:1")];
        check(&secret, aws, Some("http://p:1 (HTTPS_PROXY)"));
        assert!(!format!("{:?}", of(&secret)).contains("secret"));
        for direct in ["*", "amazonaws.com", ".amazonaws.com", "a, *.eu-west-1.amazonaws.com"] {
            check(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", direct)], aws, None);
        }
        let other = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "aws.com, b")];
        check(&other, aws, Some("http://p:1 (HTTPS_PROXY)"));
    }

    #[test]
    fn what_listens_on_this_machine_has_no_proxy() {
        for url in ["http://127.0.0.1:4566", "http://localhost:4566", "http://[::1]:4566"] {
            check(&[("HTTP_PROXY", "http://p:1")], url, None);
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_the_name_of_its_variable() {
        let error = of(&[("HTTPS_PROXY", "socks5://me:secret@p:1")]).expect_err("no http");
        assert!(
            error.contains("HTTPS_PROXY") && error.contains("socks5://p:1"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
