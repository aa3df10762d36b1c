//! Where events are delivered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::{Secret, SecretRing};
use super::setting::quote;
use super::units::Period;
use crate::store::EventKind;

/// Longest name of a webhook in bytes: it is a metric's label and part of a key.
const LONGEST_NAME: usize = 32;
const PREFIX: &str = "whsec_";
/// As long as Standard Webhooks allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One endpoint.
#[derive(Clone, Debug, Default)]
pub struct WebhookSettings {
    /// `webhooks.<name>.url`: where its events go. `https`, but for loopback or with `allow_insecure`.
    pub url: String,
    /// `webhooks.<name>.secrets`: what deliveries are signed with, as Standard Webhooks writes them (`whsec_…`); with
    /// several, each signs, so that a new one can be taken into use.
    pub secrets: Option<SecretRing>,
    /// `webhooks.<name>.kinds`: which events; all where none is named.
    pub kinds: Vec<String>,
    /// `webhooks.<name>.timeout`: how long an answer may take; default 10 s.
    pub timeout: Period,
    /// `webhooks.<name>.retry_for`: how long an event is tried before it is given up and the endpoint disabled; default
    /// 10 min.
    pub retry_for: Period,
    /// `webhooks.<name>.allow_insecure`: plain `http`, and addresses of private networks; default no.
    pub allow_insecure: bool,
}

/// The section `webhooks`, by name.
#[derive(Clone, Debug, Default)]
pub struct WebhooksSettings(pub BTreeMap<String, WebhookSettings>);

impl Section for WebhooksSettings {
    fn read(&mut self, reader: &mut Reader) {
        for name in reader.names_below("webhooks") {
            if is_name(&name) {
                let fresh = WebhookSettings {
                    timeout: Period::from_secs(10),
                    retry_for: Period::from_mins(10),
                    ..WebhookSettings::default()
                };
                self.0.insert(name, fresh);
            } else {
                let what = format!(
                    "{} is not a name: use 1 to {LONGEST_NAME} of a-z, 0-9 and _, a letter first",
                    quote(&name)
                );
                reader.refuse_below(&format!("webhooks.{name}"), &what);
            }
        }
        for (name, webhook) in &mut self.0 {
            let key = |field: &str| format!("webhooks.{name}.{field}");
            reader.value(&key("url"), &mut webhook.url);
            reader.secret(&key("secrets"), &mut webhook.secrets, are_signing_secrets);
            reader.value(&key("kinds"), &mut webhook.kinds);
            reader.value(&key("timeout"), &mut webhook.timeout);
            reader.value(&key("retry_for"), &mut webhook.retry_for);
            reader.value(&key("allow_insecure"), &mut webhook.allow_insecure);
        }
    }

    fn validate(&self, checks: &mut Checks) {
        for (name, webhook) in &self.0 {
            let key = |field: &str| format!("webhooks.{name}.{field}");
            if let Err(what) = may_deliver_to(&webhook.url, webhook.allow_insecure) {
                checks.fail(&key("url"), what);
            }
            if webhook.secrets.is_none() {
                checks.fail(&key("secrets"), "must be given: deliveries are signed");
            }
            if let Some(other) = webhook.kinds.iter().find(|kind| EventKind::from_name(kind).is_none()) {
                let known = EventKind::ALL.map(EventKind::as_str).join(", ");
                checks.fail(&key("kinds"), format!("{} is not one of {known}", quote(other)));
            }
            if webhook.timeout.is_zero() {
                checks.fail(&key("timeout"), "must be more than 0");
            }
        }
    }
}

/// Whether events may go there. Where an address is private shows only when a name is looked up: that is for those who
/// connect.
fn may_deliver_to(text: &str, allow_insecure: bool) -> Result<(), String> {
    if text.is_empty() {
        return Err("must be given".to_owned());
    }
    let no_url = || format!("{} is not an https:// URL without credentials", quote(text));
    let url = reqwest::Url::parse(text).map_err(|_| no_url())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(no_url());
    }
    let host = url.host_str().ok_or_else(no_url)?;
    let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let is_loopback = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback || allow_insecure => Ok(()),
        "http" => Err(format!(
            "{} would tell events to anybody on the way: use https://",
            quote(text)
        )),
        _ => Err(no_url()),
    }
}

/// The key in a secret as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes in base64.
pub fn signing_key(secret: &str) -> Result<Vec<u8>, String> {
    let key = secret
        .strip_prefix(PREFIX)
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    key.filter(|key| KEY_BYTES.contains(&key.len())).ok_or_else(|| {
        let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
        format!("is not `{PREFIX}` and {least} to {most} bytes in base64")
    })
}

#[expect(clippy::ptr_arg, reason = "the rule of a secret takes what the secret is")]
fn are_signing_secrets(secrets: &Vec<Secret>) -> Result<(), String> {
    secrets
        .iter()
        .try_for_each(|secret| signing_key(secret.expose()).map(|_| ()))
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= LONGEST_NAME && name.chars().all(is_allowed)
}
