use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be offered: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` {problem}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong, to be read after the file's name.
        problem: String,
    },
    /// The certificate and the key cannot be used together.
    #[error("the certificate `{}` and the key `{}` cannot be used: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// A certificate and its key, from two PEM files that may be replaced while the server runs.
pub struct Tls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    acceptor: ArcSwap<ServerConfig>,
    /// What the files held when they were last read, good or bad, so that a bad pair is complained of once.
    seen: Mutex<Fingerprint>,
}

type Fingerprint = [u8; 32];

impl Tls {
    /// Reads the files: a chain of certificates, the server's first, and its key (PKCS #8, PKCS #1 or SEC 1).
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let read = |file: &Path| std::fs::read(file).map_err(|source| unreadable(file, source));
        let (certificates, key) = (read(certificate_file)?, read(key_file)?);
        let config = Files {
            certificate_file,
            key_file,
        }
        .parse(&certificates, &key)?;
        Ok(Self {
            certificate_file: certificate_file.to_owned(),
            key_file: key_file.to_owned(),
            acceptor: ArcSwap::from_pointee(config),
            seen: Mutex::new(fingerprint(&certificates, &key)),
        })
    }

    /// Reads the files again; gives whether they had changed. After an error the former certificate stays in use.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let certificates = read(&self.certificate_file).await?;
        let key = read(&self.key_file).await?;
        let found = fingerprint(&certificates, &key);
        if std::mem::replace(&mut *self.seen.lock(), found) == found {
            return Ok(false);
        }
        let files = Files {
            certificate_file: &self.certificate_file,
            key_file: &self.key_file,
        };
        self.acceptor.store(Arc::new(files.parse(&certificates, &key)?));
        Ok(true)
    }

    /// Looks at the files again and again.
    pub(super) async fn keep_fresh(&self, every: Duration) {
        let mut readable = true;
        loop {
            tokio::time::sleep(every).await;
            match self.reload().await {
                Ok(false) => readable = true,
                Ok(true) => {
                    readable = true;
                    tracing::info!(file = %self.certificate_file.display(), "tls certificate replaced");
                }
                Err(TlsError::Read { .. }) if !readable => {}
                Err(error) => {
                    readable = !matches!(error, TlsError::Read { .. });
                    tracing::error!(%error, "tls certificate not replaced: the former one stays in use");
                }
            }
        }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.acceptor.load_full())
    }
}

struct Files<'a> {
    certificate_file: &'a Path,
    key_file: &'a Path,
}

impl Files<'_> {
    fn parse(&self, certificates: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, pem::Error>>()
            .map_err(|error| wrong(self.certificate_file, format!("is no PEM file: {error}")))?;
        if chain.is_empty() {
            return Err(wrong(self.certificate_file, "holds no certificate (PEM)".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => wrong(self.key_file, "holds no private key (PEM)".to_owned()),
            error => wrong(self.key_file, format!("is no PEM file: {error}")),
        })?;
        let pair = |source| TlsError::Pair {
            certificate: self.certificate_file.to_owned(),
            key: self.key_file.to_owned(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(file).await.map_err(|source| unreadable(file, source))
}

fn unreadable(file: &Path, source: std::io::Error) -> TlsError {
    let file = file.to_owned();
    TlsError::Read { file, source }
}

fn wrong(file: &Path, problem: String) -> TlsError {
    let file = file.to_owned();
    TlsError::Content { file, problem }
}

fn fingerprint(certificates: &[u8], key: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(certificates.len() as u64).to_be_bytes());
    context.update(certificates);
    context.update(key);
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}
