//! A certificate authority and a server certificate for loopback, made anew for each fixture.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// PEM texts: who signs, and what a server on `localhost` and 127.0.0.1 shows.
#[derive(Clone, Debug)]
pub(crate) struct TlsMaterial {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Where [`TlsMaterial::write_to`] put the three texts.
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsMaterial {
    pub(crate) fn generate() -> Self {
        Self::generate_for(&["localhost", "127.0.0.1"])
    }

    /// The same for a server of these names and addresses.
    pub(crate) fn generate_for(names: &[&str]) -> Self {
        // With one name for both, OpenSSL takes the server's certificate for a self-signed one.
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().expect("a key pair");
        let authority = CertifiedIssuer::self_signed(authority, authority_key).expect("a self-signed authority");
        let all: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(all).expect("valid names");
        server.distinguished_name.push(DnType::CommonName, names[0]);
        let server_key = KeyPair::generate().expect("a key pair");
        let certificate = server.signed_by(&server_key, &authority).expect("a signed certificate");
        Self {
            ca: authority.pem(),
            certificate: certificate.pem(),
            key: server_key.serialize_pem(),
        }
    }

    pub(crate) fn write_to(&self, directory: &Path) -> TlsFiles {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("write a PEM file");
            path
        };
        TlsFiles {
            ca: write("ca.pem", &self.ca),
            certificate: write("server.pem", &self.certificate),
            key: write("server.key", &self.key),
        }
    }
}
