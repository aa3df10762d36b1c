//! What a server takes from Kubernetes: its fleet, the leader's lease, and who its callers are.

use toml::Value;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::{Choice, Setting, quote};

/// What a caller may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerScope {
    /// `sessions:read`.
    Read,
    /// `sessions:write`.
    Write,
    /// `sessions:admin`.
    Admin,
}

impl Choice for CallerScope {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("sessions:read", Self::Read),
        ("sessions:write", Self::Write),
        ("sessions:admin", Self::Admin),
    ];
}

/// A service account whose pods may call the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Where it is.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Vec<CallerScope>,
}

impl Setting for ServiceAccount {
    fn from_text(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (account, scopes) = text.split_once(": ")?;
            let (namespace, name) = account.trim().split_once('/')?;
            (is_label(namespace) && is_subdomain(name)).then_some((namespace, name, scopes))
        };
        let (namespace, name, scopes) = parsed().ok_or_else(|| {
            format!(
                "{} is not a service account with its scopes: write namespace/name: scope scope, \
                 such as shop/web: sessions:read sessions:write",
                quote(text)
            )
        })?;
        let scopes: Vec<_> = scopes
            .split_whitespace()
            .map(CallerScope::from_text)
            .collect::<Result<_, _>>()?;
        if scopes.is_empty() {
            return Err(format!("{} names no scope", quote(text)));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            scopes,
        })
    }

    fn show(&self) -> Value {
        let scopes: Vec<_> = self.scopes.iter().map(|scope| scope.word()).collect();
        Value::String(format!("{}/{}: {}", self.namespace, self.name, scopes.join(" ")))
    }
}

/// The section `kubernetes`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// `kubernetes.enabled`: whether the API server is asked at all; default no.
    pub enabled: bool,
    /// `kubernetes.namespace`: of the Service and the Lease; default the one of the mounted service account.
    pub namespace: Option<String>,
    /// `kubernetes.service`: the headless Service whose endpoints are the fleet; default `cloakroom-headless`.
    pub service: String,
    /// `kubernetes.lease`: the leader's; default `cloakroom`.
    pub lease: String,
    /// `kubernetes.service_accounts`: whose tokens are accepted, and for what; default none.
    pub service_accounts: Vec<ServiceAccount>,
    /// `kubernetes.audience`: what those tokens must be for; default `cloakroom`.
    pub audience: String,
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            namespace: None,
            service: "cloakroom-headless".to_owned(),
            lease: "cloakroom".to_owned(),
            service_accounts: Vec::new(),
            audience: "cloakroom".to_owned(),
        }
    }
}

impl Section for KubernetesSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("kubernetes.enabled", &mut self.enabled);
        reader.optional("kubernetes.namespace", &mut self.namespace);
        reader.value("kubernetes.service", &mut self.service);
        reader.value("kubernetes.lease", &mut self.lease);
        reader.value("kubernetes.service_accounts", &mut self.service_accounts);
        reader.value("kubernetes.audience", &mut self.audience);
    }

    fn validate(&self, checks: &mut Checks) {
        if let Some(namespace) = &self.namespace
            && !is_label(namespace)
        {
            checks.fail(
                "kubernetes.namespace",
                format!("{} is not the name of a namespace", quote(namespace)),
            );
        }
        if !is_label(&self.service) {
            checks.fail(
                "kubernetes.service",
                format!("{} is not the name of a Service", quote(&self.service)),
            );
        }
        if !is_subdomain(&self.lease) {
            checks.fail(
                "kubernetes.lease",
                format!("{} is not the name of a Lease", quote(&self.lease)),
            );
        }
        let mut seen = Vec::new();
        for ServiceAccount { namespace, name, .. } in &self.service_accounts {
            if seen.contains(&(namespace, name)) {
                let what = format!("{namespace}/{name} is there twice: give it all its scopes in one place");
                checks.fail("kubernetes.service_accounts", what);
            }
            seen.push((namespace, name));
        }
        if !self.enabled && !self.service_accounts.is_empty() {
            checks.fail_among(
                &["kubernetes.service_accounts", "kubernetes.enabled"],
                "their tokens are judged by the API server: set kubernetes.enabled = true too",
            );
        }
    }
}

/// Whether `text` is a label by RFC 1123: what namespaces and Services are called.
fn is_label(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(is_allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether `text` is a subdomain by RFC 1123: what most objects are called.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_written_with_its_scopes() {
        let text = "shop/web: sessions:read sessions:write";
        let account = ServiceAccount::from_text(text).unwrap();
        assert_eq!((account.namespace.as_str(), account.name.as_str()), ("shop", "web"));
        assert_eq!(account.scopes, [CallerScope::Read, CallerScope::Write]);
        assert_eq!(account.show(), Value::String(text.to_owned()));
    }

    #[test]
    fn anything_else_is_refused_with_the_form() {
        for text in [
            "shop/web",
            "web: sessions:read",
            "shop/web:sessions:read",
            "Shop/web: sessions:read",
            "shop/: sessions:read",
            "shop/a b: sessions:read",
            "system:serviceaccount:shop:web: sessions:read",
        ] {
            let refusal = ServiceAccount::from_text(text).unwrap_err();
            assert!(refusal.contains("write namespace/name: scope scope"), "{refusal}");
        }
        let refusal = ServiceAccount::from_text("shop/web: sessions:all").unwrap_err();
        assert_eq!(
            refusal,
            "\"sessions:all\" is not one of sessions:read, sessions:write, sessions:admin"
        );
        let refusal = ServiceAccount::from_text("shop/web:  ").unwrap_err();
        assert!(refusal.ends_with("names no scope"), "{refusal}");
    }
}
