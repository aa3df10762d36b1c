use std::time::Duration;

use kube::{Client, Config};
use serde::Deserialize;

use crate::cluster::FleetError;
use crate::session::ServerId;

/// How long one request to the API server may take.
const PATIENCE: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The API server, and where in it this server is at home.
#[derive(Clone)]
pub struct Kubernetes {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// This server's pod, where its credentials tell.
    pub(super) pod: Option<Pod>,
}

/// A pod as its service account's token names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) uid: String,
}

/// What is wrong with the settings or the credentials: it does not mend by itself.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is neither a service account mounted nor a kubeconfig.
    #[error("kubernetes.enabled: no credentials for the API server: {0}")]
    Credentials(String),
    /// Sessions would be homed at a server that the fleet does not know.
    #[error(
        "server_id is {server_id:?}, and this pod's name is {pod:?}: leave server_id out, or set CLOAKROOM_SERVER_ID from \
         metadata.name"
    )]
    OtherName {
        /// What the settings say.
        server_id: String,
        /// What Kubernetes says.
        pod: String,
    },
}

impl Kubernetes {
    /// Finds the credentials: those of the kubeconfig, or the service account that is mounted. Asks the API server
    /// nothing, so that one that is away holds up nothing.
    pub async fn open(namespace: Option<&str>, me: &ServerId) -> Result<Self, Unusable> {
        let mut config = Config::infer()
            .await
            .map_err(|error| Unusable::Credentials(chain(&error)))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let pod = config
            .auth_info
            .token_file
            .as_ref()
            .and_then(|path| pod_of(&std::fs::read_to_string(path).ok()?));
        if let Some(pod) = pod.as_ref().filter(|pod| pod.name != me.as_str()) {
            return Err(Unusable::OtherName {
                server_id: me.to_string(),
                pod: pod.name.clone(),
            });
        }
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(|error| Unusable::Credentials(chain(&error)))?;
        Ok(Self { client, namespace, pod })
    }

    /// Where the Service and the Lease are looked for.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// The pod that a projected service-account token is bound to. Whether the token is genuine is for the API server to say.
fn pod_of(token: &str) -> Option<Pod> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(rename = "kubernetes.io")]
        kubernetes: Binding,
    }
    #[derive(Deserialize)]
    struct Binding {
        pod: Pod,
    }
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token.trim()).ok()?;
    Some(claims.kubernetes.pod)
}

/// A request to the API server that did not get what it asked for.
#[derive(Debug)]
pub(super) struct Failed {
    /// The status, where the API server answered.
    pub(super) code: Option<u16>,
    text: String,
}

impl Failed {
    /// Somebody else changed or made the object first.
    pub(super) fn is_conflict(&self) -> bool {
        self.code == Some(409)
    }
}

impl From<Failed> for FleetError {
    fn from(failed: Failed) -> Self {
        Self::Kubernetes(failed.text)
    }
}

/// Runs one request, within its time.
pub(super) async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Failed {
            code: None,
            text: format!("the API server did not answer within {} s", PATIENCE.as_secs()),
        }),
    }
}

fn failed(error: &kube::Error) -> Failed {
    match error {
        kube::Error::Api(status) => Failed {
            code: Some(status.code),
            text: format!("{} (status {})", status.message, status.code),
        },
        other => Failed {
            code: None,
            text: chain(other),
        },
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_bound_token_tells_its_pod_and_another_none() {
        let token = |claims: &str| {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.{}\n", part(r#"{"alg":"RS256"}"#), part(claims), part("none"))
        };
        let bound = token(r#"{"kubernetes.io": {"namespace": "n", "pod": {"name": "cloakroom-0", "uid": "1-2"}}}"#);
        let pod = Pod {
            name: "cloakroom-0".to_owned(),
            uid: "1-2".to_owned(),
        };
        assert_eq!(pod_of(&bound), Some(pod));
        assert_eq!(pod_of(&token(r#"{"kubernetes.io": {"namespace": "n"}}"#)), None);
        assert_eq!(pod_of("opaque"), None);
    }
}
