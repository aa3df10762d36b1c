//! TLS before something that speaks none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::tls::TlsMaterial;

/// A running front; dropped, it is gone.
pub(crate) struct TlsFront {
    address: SocketAddr,
    pub(crate) ca_file: PathBuf,
    _directory: TempDir,
    task: JoinHandle<()>,
}

impl TlsFront {
    pub(crate) async fn start(behind: SocketAddr) -> Self {
        let directory = TempDir::with_prefix("cloakroom-tls-").unwrap();
        let material = TlsMaterial::generate();
        let files = material.write_to(directory.path());
        let certificate = CertificateDer::from_pem_slice(material.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut settings = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(settings));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await.ok()?;
                    let mut inside = TcpStream::connect(behind).await.ok()?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok()
                });
            }
        });
        Self {
            address,
            ca_file: files.ca,
            _directory: directory,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}
