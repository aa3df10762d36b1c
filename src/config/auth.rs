//! Forward authentication for gateways.

use super::jwt::is_web_url;
use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::quote;
use super::units::Period;

/// The section `auth`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthSettings {
    /// `auth.cache_for`: how long a gateway may reuse an answer at most; default 0, not at all.
    pub cache_for: Period,
    /// `auth.return_urls`: the allow-list of `?sign_in=`; default none.
    pub return_urls: Vec<String>,
}

impl Section for AuthSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("auth.cache_for", &mut self.cache_for);
        reader.value("auth.return_urls", &mut self.return_urls);
    }

    fn validate(&self, checks: &mut Checks) {
        for url in self.return_urls.iter().filter(|url| !is_web_url(url)) {
            checks.fail(
                "auth.return_urls",
                format!("{} is not an http:// or https:// URL", quote(url)),
            );
        }
    }
}
