//! The store of record.

use std::fmt;
use std::path::PathBuf;

use toml::Value;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::{MASK, SecretSource};
use super::setting::{Setting, quote};
use super::units::Period;

/// Longest key prefix in bytes: it is part of every key.
const LONGEST_PREFIX: usize = 64;

/// The section `redis`.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis.urls`: one node is enough to find a cluster; none means the memory store.
    pub urls: Vec<RedisUrl>,
    /// `redis.prefix`: what every key begins with; default `cloakroom`.
    pub prefix: String,
    /// `redis.username`: over the one of the URLs.
    pub username: Option<String>,
    /// `redis.password`: over the one of the URLs.
    pub password: Option<SecretSource>,
    /// `redis.ca_file`: certificate authorities for `rediss://`, PEM; default those of the system.
    pub ca_file: Option<PathBuf>,
    /// `redis.connect_timeout`: default 1 s.
    pub connect_timeout: Period,
    /// `redis.response_timeout`: default 1 s.
    pub response_timeout: Period,
    /// `redis.node_timeout`: the cluster's own setting, vouched for where CONFIG is refused; default: Redis is asked.
    pub node_timeout: Option<Period>,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            prefix: "cloakroom".to_owned(),
            username: None,
            password: None,
            ca_file: None,
            connect_timeout: Period::from_secs(1),
            response_timeout: Period::from_secs(1),
            node_timeout: None,
        }
    }
}

impl Section for RedisSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("redis.urls", &mut self.urls);
        reader.value("redis.prefix", &mut self.prefix);
        reader.optional("redis.username", &mut self.username);
        reader.secret("redis.password", &mut self.password, |_| Ok(()));
        reader.optional("redis.ca_file", &mut self.ca_file);
        reader.value("redis.connect_timeout", &mut self.connect_timeout);
        reader.value("redis.response_timeout", &mut self.response_timeout);
        reader.optional("redis.node_timeout", &mut self.node_timeout);
    }

    fn validate(&self, checks: &mut Checks) {
        if !is_prefix(&self.prefix) {
            let what = format!(
                "{} is not 1 to {LONGEST_PREFIX} printable ASCII characters without spaces, braces, and colons at the ends",
                quote(&self.prefix)
            );
            checks.fail("redis.prefix", what);
        }
        let with_tls = self.urls.iter().filter(|url| url.is_tls()).count();
        if with_tls != 0 && with_tls != self.urls.len() {
            checks.fail(
                "redis.urls",
                "mixes redis:// and rediss://: give all nodes the same scheme",
            );
        }
        if self.ca_file.is_some() && !self.urls.is_empty() && with_tls == 0 {
            checks.fail_among(
                &["redis.ca_file", "redis.urls"],
                "certificates are checked with rediss:// URLs only",
            );
        }
        let timeouts = [
            ("redis.connect_timeout", Some(self.connect_timeout)),
            ("redis.response_timeout", Some(self.response_timeout)),
            ("redis.node_timeout", self.node_timeout),
        ];
        for (key, timeout) in timeouts {
            if timeout.is_some_and(Period::is_zero) {
                checks.fail(key, "must be more than 0");
            }
        }
    }
}

/// Braces would move the hash tag, which is what keeps the keys of a user in one slot.
fn is_prefix(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}');
    let ends_in_colon = text.starts_with(':') || text.ends_with(':');
    (1..=LONGEST_PREFIX).contains(&text.len()) && text.chars().all(is_allowed) && !ends_in_colon
}

/// The address of a Redis node, `redis://` or `rediss://`; a password in it is masked by `Debug` and `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    text: String,
    masked: Option<String>,
    tls: bool,
}

impl RedisUrl {
    /// The whole URL with its password, for the client; never for print or logs.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether the connection is made with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.masked.as_ref().unwrap_or(&self.text))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The messages never repeat the URL, as it may hold a password.
impl Setting for RedisUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        const FORM: &str = "is not the URL of a Redis node: use redis://host:port, or rediss://host:port for TLS";
        let url = redis::parse_redis_url(text).ok_or(FORM)?;
        if !matches!(url.scheme(), "redis" | "rediss") || !url.has_host() {
            return Err(FORM.to_owned());
        }
        if url.fragment().is_some() || url.query().is_some() {
            return Err(
                "has a query or a fragment: give options as settings; certificates are always verified".to_owned(),
            );
        }
        redis::IntoConnectionInfo::into_connection_info(text).map_err(|_| FORM)?;
        let tls = url.scheme() == "rediss";
        let mut without_password = url.clone();
        let hidden = url.password().is_some() && without_password.set_password(Some(MASK)).is_ok();
        Ok(Self {
            text: text.to_owned(),
            masked: hidden.then(|| without_password.to_string()),
            tls,
        })
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }

    fn is_masked(&self) -> bool {
        self.masked.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_password_of_a_url_is_masked() {
        let url = RedisUrl::from_text("rediss://app:hunter2@redis-0.redis:6379/").unwrap();
        assert_eq!(url.to_string(), "rediss://app:********@redis-0.redis:6379/");
        assert!(!format!("{url:?}").contains("hunter2"));
        assert_eq!(url.expose(), "rediss://app:hunter2@redis-0.redis:6379/");
        assert!(url.is_tls() && url.is_masked());
        assert_eq!(
            RedisUrl::from_text("redis://[::1]:7000").unwrap().to_string(),
            "redis://[::1]:7000"
        );
    }

    #[test]
    fn other_urls_are_refused_without_repeating_them() {
        for text in [
            "",
            "redis-0:6379",
            "http://:hunter2@redis/",
            "unix:///hunter2",
            "redis://",
            "redis://:hunter2@h:99999",
            "rediss://:hunter2@h/#insecure",
            "redis://h/hunter2",
            "redis://h?protocol=hunter2",
        ] {
            let message = RedisUrl::from_text(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn prefixes_keep_the_hash_tag_alone() {
        for good in ["cloakroom", "a", "team:cloakroom", "x-1_y"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", ":a", "a:", "a b", "a{b", "a}b", "é", "a\tb", &"a".repeat(65)] {
            assert!(!is_prefix(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(text in "\\PC*|redis(s)?://[a-z:@\\[\\]/%#?0-9]{0,30}") {
            let _ = RedisUrl::from_text(&text);
        }
    }
}
