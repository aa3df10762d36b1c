//! TLS on both sides: a Redis whose authority is in a secret, and an API with a certificate of its own.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::namespace::Namespace;
use crate::tls_material::TlsMaterial;

/// A Redis that speaks nothing but TLS, and the secret with what it and the service show and trust.
pub(crate) async fn redis_with_tls(namespace: &Namespace) {
    let material = TlsMaterial::generate_for(&["redis", "cloakroom", "localhost"]);
    let files = json!({
        "ca.crt": material.ca, "tls.crt": material.certificate, "tls.key": material.key, "password": "a password",
    });
    let command = "exec redis-server --port 0 --tls-port 6379 --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key \
                   --tls-ca-cert-file /tls/ca.crt --tls-auth-clients no --requirepass 'a password' --save '' --dir /tmp";
    let locked = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "redis", "image": "docker.io/library/redis:7.4-bookworm", "command": ["sh", "-c", command],
            "securityContext": locked, "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
        }],
        "volumes": [{"name": "tls", "secret": {"secretName": "redis-tls"}}],
    });
    let labels = json!({"app": "redis"});
    let objects: [Value; 3] = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis-tls"}, "stringData": files}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"},
               "spec": {"selector": labels, "ports": [{"port": 6379}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "redis"},
               "spec": {"selector": {"matchLabels": labels},
                        "template": {"metadata": {"labels": labels}, "spec": pod}}}),
    ];
    namespace
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
        .await;
}

#[tokio::test]
async fn redis_and_the_api_are_spoken_to_over_tls() {
    let namespace = Cluster::get().namespace("tls").await;
    redis_with_tls(&namespace).await;
    let redis = "redis.urls={rediss://redis:6379},redis.existingSecret=redis-tls,\
                 redis.tls.enabled=true,redis.tls.existingSecret=redis-tls";
    let api = json!([
        {"setting": "tls.cert_file", "secret": "redis-tls", "key": "tls.crt"},
        {"setting": "tls.key_file", "secret": "redis-tls", "key": "tls.key"},
    ]);
    let from_secrets = format!("settingsFromSecrets={api}");
    let release = namespace
        .install("cloakroom", &["--set", redis, "--set-json", &from_secrets])
        .await;
    // Ready is: a store with that password answered over TLS, and memory is covered.
    assert_eq!(release.pods().await.len(), 2);
    assert!(release.notes.contains("https://cloakroom."), "{}", release.notes);
    let service = namespace.get(&["service", "cloakroom"]).await;
    assert_eq!(service["spec"]["ports"][0]["appProtocol"], "https");
    let url = release.service_url().await.replace("http://", "");
    if namespace.cluster.reaches_services().await {
        let encrypted = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let answer = encrypted
            .get(format!("https://{url}/v1/sessions/a"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "no caller, but an answer");
        assert!(
            reqwest::get(format!("http://{url}/v1/sessions/a")).await.is_err(),
            "plain HTTP is answered"
        );
    }
    release.test().await;
}
