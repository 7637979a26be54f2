//! Credentials that are fetched again when they run out, or when the service says that they have.
//!
//! The SDK keeps credentials until the time that they name themselves. Session credentials in a profile name none, and a
//! service may refuse credentials before their time (a clock that is off, keys that were rotated). So every client has a
//! source of its own that goes back to the files, the token cache or the metadata service after such a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{FinalizerInterceptorContextRef, InterceptorContext};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::sync::Mutex;

use crate::connections::Connections;

/// Credentials are renewed this long before their end, so that none run out on the way.
const BEFORE_END: Duration = Duration::from_secs(30);

/// After a refusal the source is asked again at most this often: it may be a service that allows few requests.
const REFUSED_EVERY: Duration = Duration::from_secs(1);

/// Where credentials come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// What the AWS command line would take: environment, profiles, web identity, container, instance.
    Environment {
        /// For the services that hand credentials out.
        region: Option<Region>,
        /// How to reach them.
        connections: Connections,
    },
    /// The provider that the user gave, or fixed ones.
    Given(SharedCredentialsProvider),
}

impl Source {
    async fn fetch(&self) -> provider::Result {
        match self {
            // Made anew each time: a chain remembers the files that it has read.
            Self::Environment { region, connections } => {
                let config = ProviderConfig::default()
                    .with_http_client(connections.https())
                    .with_region(region.clone());
                let mut chain = DefaultCredentialsChain::builder().configure(config);
                chain.set_region(region.clone());
                chain.build().await.provide_credentials().await
            }
            Self::Given(provider) => provider.provide_credentials().await,
        }
    }
}

/// The credentials of one client; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Renewed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    kept: Mutex<Option<Kept>>,
    /// The service has said that those kept are not valid.
    refused: AtomicBool,
}

#[derive(Clone, Debug)]
struct Kept {
    credentials: Credentials,
    fetched: SystemTime,
}

impl Kept {
    fn is_due(&self, now: SystemTime, refused: bool) -> bool {
        let ending = self.credentials.expiry().is_some_and(|end| now + BEFORE_END >= end);
        // A clock that was set back makes the age unknown: then it is old.
        let old = now
            .duration_since(self.fetched)
            .map_or(true, |age| age >= REFUSED_EVERY);
        ending || (refused && old)
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_some_and(|end| now >= end)
    }
}

impl Renewed {
    pub(crate) fn new(source: Source) -> Self {
        Self(Arc::new(Inner {
            source,
            kept: Mutex::default(),
            refused: AtomicBool::new(false),
        }))
    }

    async fn credentials(&self) -> provider::Result {
        let mut kept = self.0.kept.lock().await;
        let (now, refused) = (SystemTime::now(), self.0.refused.load(Ordering::Relaxed));
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.is_due(now, refused)) {
            return Ok(kept.credentials.clone());
        }
        match self.0.source.fetch().await {
            Ok(credentials) => {
                self.0.refused.store(false, Ordering::Relaxed);
                *kept = Some(Kept {
                    credentials: credentials.clone(),
                    fetched: now,
                });
                Ok(credentials)
            }
            // The source fails a little before the end of what it gave last.
            Err(error) => match kept.as_ref().filter(|kept| !refused && !kept.is_over(now)) {
                Some(kept) => Ok(kept.credentials.clone()),
                None => Err(error),
            },
        }
    }
}

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[dyn_dispatch_hint]
impl Intercept for Renewed {
    fn name(&self) -> &'static str {
        "Credentials"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some_and(refuses_credentials) {
            self.0.refused.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A request that was refused for its credentials is worth another attempt, with those that are fetched for it. Nothing
/// was carried out.
#[derive(Debug)]
pub(crate) struct RetryRefused;

impl ClassifyRetry for RetryRefused {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        if context.response().is_some_and(refuses_credentials) {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "RetryRefused"
    }
}

/// Whether the service says that the credentials are not valid (any more).
fn refuses_credentials(response: &HttpResponse) -> bool {
    let names = [
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidToken",
    ];
    let header = response.headers().get("x-amzn-errortype").unwrap_or_default();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    (400..=403).contains(&response.status().as_u16())
        && names.iter().any(|name| header.contains(name) || body.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(ends_after: Option<u64>) -> Kept {
        let end = ends_after.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        Kept {
            credentials: Credentials::new("AKID", "secret", None, end, "test"),
            fetched: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn credentials_are_due_before_their_end_and_after_a_refusal() {
        let check = |ends_after, at: u64, refused, due| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            assert_eq!(
                kept(ends_after).is_due(now, refused),
                due,
                "{ends_after:?} {at} {refused}"
            );
        };
        check(None, 1_000_000, false, false);
        check(None, 0, true, false);
        check(None, 1, true, true);
        check(Some(100), 69, false, false);
        check(Some(100), 70, false, true);
        check(Some(100), 10, true, true);
    }
}
