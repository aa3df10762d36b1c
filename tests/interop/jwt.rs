//! Libraries of other languages verify the JWT of a session by the keys that we publish.

use std::process::Command;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use serde_json::json;

use crate::service::Service;
use crate::tools::library;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/verifiers");
const AUDIENCE: &str = "orders";

#[derive(Clone, Copy, Debug)]
enum Verifier {
    PyJwt,
    Jose,
}

impl Verifier {
    /// The subject, where the library takes the JWT.
    async fn verify(self, service: &Service, audience: &str, jwt: &str) -> Option<String> {
        let mut command = match self {
            Self::PyJwt => {
                let mut python = Command::new("python3");
                python.arg(format!("{SCRIPTS}/with_pyjwt.py"));
                python.env("PYTHONPATH", library("python-interop", "jwt"));
                python
            }
            Self::Jose => {
                let mut node = Command::new("node");
                node.arg(format!("{SCRIPTS}/with_jose.mjs"));
                node.env("MODULES", library("node-interop", "node_modules/jose"));
                node
            }
        };
        let keys = format!("http://{}/.well-known/jwks.json", service.address);
        command.args([&keys, audience, jwt]);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            // Refused for what it says, not for a library that is missing.
            assert!(
                errors.contains("Audience") || errors.contains("aud") || errors.contains("ignature"),
                "{errors}"
            );
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn pem(algorithm: &'static SignatureAlgorithm) -> String {
    KeyPair::generate_for(algorithm).unwrap().serialize_pem()
}

#[tokio::test]
async fn p10_two_libraries_of_other_languages_verify_the_jwt_of_a_session() {
    for (algorithm, name) in [(&PKCS_ED25519, "EdDSA"), (&PKCS_ECDSA_P256_SHA256, "ES256")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.pem");
        // Two keys are published, and the JWT's header says which one signed.
        std::fs::write(&file, pem(algorithm) + &pem(&PKCS_ED25519)).unwrap();
        let service = Service::start(&[("CLOAKROOM_TOKEN__KEYS_FILE", file.to_str().unwrap())]).await;
        let made = service.log_in("alice").await;
        let session = made["session"]["id"].as_str().unwrap();
        let asked = json!({"audience": AUDIENCE});
        let jwt = service.post(&format!("/v1/sessions/{session}/token"), asked).await;
        let jwt = jwt["jwt"].as_str().unwrap();
        let changed = tampered(jwt);
        for verifier in [Verifier::PyJwt, Verifier::Jose] {
            let subject = verifier.verify(&service, AUDIENCE, jwt).await;
            assert_eq!(subject.as_deref(), Some("alice"), "{verifier:?} {name}");
            assert_eq!(
                verifier.verify(&service, "billing", jwt).await,
                None,
                "{verifier:?} {name}"
            );
            assert_eq!(
                verifier.verify(&service, AUDIENCE, &changed).await,
                None,
                "{verifier:?} {name}"
            );
        }
    }
}

/// The same JWT with another signature.
fn tampered(jwt: &str) -> String {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{first}{}", &signature[1..])
}
