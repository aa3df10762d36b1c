use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::{Client, Url};

use super::resolve::{PublicOnly, is_public};
use crate::config::{Secret, WebhookSettings, signing_key};
use crate::store::EventKind;

/// What signs deliveries, the newest first: they can be replaced while the server runs. Cheap to clone.
#[derive(Clone)]
pub struct SigningKeys(Arc<ArcSwap<Vec<Vec<u8>>>>);

impl SigningKeys {
    /// The keys in secrets that the settings have read: they are well formed.
    pub fn new(secrets: &[Secret]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys_of(secrets))))
    }

    /// From now on these sign.
    pub fn replace(&self, secrets: &[Secret]) {
        self.0.store(Arc::new(keys_of(secrets)));
    }

    /// Whether nobody else holds them.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// An endpoint, and how it is spoken to.
pub struct Webhook {
    name: String,
    pub(super) url: Url,
    pub(super) client: Client,
    keys: SigningKeys,
    /// Nothing where it wants all.
    kinds: Option<BTreeSet<&'static str>>,
    pub(super) retry_for: Duration,
}

impl Webhook {
    /// Takes the settings of a webhook.
    pub fn new(name: &str, settings: &WebhookSettings, keys: SigningKeys) -> Result<Self, String> {
        let wrong = |field: &str, what: &dyn std::fmt::Display| format!("webhooks.{name}.{field}: {what}");
        let url = Url::parse(&settings.url).map_err(|error| wrong("url", &error))?;
        let mut client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout.get());
        // Names that lead to loopback are known as such when the settings are read.
        if !settings.allow_insecure && !leads_home(&url) {
            if literal(&url).is_some_and(|address| !is_public(address)) {
                return Err(wrong("url", &"a private address needs allow_insecure"));
            }
            client = client.dns_resolver(Arc::new(PublicOnly));
        }
        let kinds = settings.kinds.iter().filter_map(|kind| EventKind::from_name(kind));
        let kinds: BTreeSet<_> = kinds.map(EventKind::as_str).collect();
        Ok(Self {
            name: name.to_owned(),
            client: client.build().map_err(|error| wrong("url", &error))?,
            url,
            keys,
            kinds: (!kinds.is_empty()).then_some(kinds),
            retry_for: settings.retry_for.get(),
        })
    }

    /// Its name in settings, metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signs now.
    pub(super) fn keys(&self) -> Arc<Vec<Vec<u8>>> {
        self.keys.0.load_full()
    }

    pub(super) fn wants(&self, kind: EventKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind.as_str()))
    }
}

fn keys_of(secrets: &[Secret]) -> Vec<Vec<u8>> {
    secrets
        .iter()
        .filter_map(|secret| signing_key(secret.expose()).ok())
        .collect()
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

/// Whether the URL names this machine.
fn leads_home(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal(url).is_some_and(|address| address.is_loopback())
}
