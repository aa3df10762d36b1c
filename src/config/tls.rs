//! TLS of the traffic listener.

use std::path::PathBuf;

use super::problem::Checks;
use super::reader::{Reader, Section};

/// The section `tls`; without it the traffic listener speaks plain HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsSettings {
    /// `tls.cert_file`: the certificate chain, PEM, watched.
    pub cert_file: Option<PathBuf>,
    /// `tls.key_file`: its private key, PEM, watched.
    pub key_file: Option<PathBuf>,
}

impl TlsSettings {
    /// The certificate chain and its key, if TLS is on.
    pub fn pair(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.cert_file.as_ref().zip(self.key_file.as_ref())
    }
}

impl Section for TlsSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.optional("tls.cert_file", &mut self.cert_file);
        reader.optional("tls.key_file", &mut self.key_file);
    }

    fn validate(&self, checks: &mut Checks) {
        if self.cert_file.is_some() != self.key_file.is_some() {
            let what = "tls.cert_file and tls.key_file go together: give both or none";
            checks.fail_among(&["tls.cert_file", "tls.key_file"], what);
        }
    }
}
