//! Callers that show the token of their service account, as the chart lets them in.

use reqwest::Method;
use serde_json::{Value, json};

use crate::helm;
use crate::install::{BUNDLED, SHELL_IMAGE};
use crate::support::cluster::Cluster;
use crate::support::namespace::Namespace;
use crate::support::release::{Caller, Release};

/// A release that lets in `web` (read, write) and `support` (all) of its own namespace.
async fn guarded(namespace: &Namespace) -> Release<'_> {
    for account in ["web", "support", "other"] {
        namespace.kubectl(&["create", "serviceaccount", account]).await;
    }
    let at = &namespace.name;
    let accounts = json!([
        {"namespace": at, "name": "web", "scopes": ["sessions:read", "sessions:write"]},
        {"namespace": at, "name": "support", "scopes": ["sessions:admin"]},
    ]);
    let accounts = format!("serviceAccounts={accounts}");
    let values = [BUNDLED, &["--set", "replicaCount=1", "--set-json", &accounts]].concat();
    let release = namespace.install("cloakroom", &values).await;
    for account in ["web: sessions:read sessions:write", "support: sessions:admin"] {
        let told = format!("{at}/{account}");
        assert!(release.notes.contains(&told), "{told} is not among {}", release.notes);
    }
    release
}

/// A caller with the token of an account, made for an audience.
async fn caller(release: &Release<'_>, account: &str, audience: &str) -> Caller {
    let audience = format!("--audience={audience}");
    let arguments = ["create", "token", account, &audience, "--duration=10m"];
    let token = release.namespace.kubectl(&arguments).await;
    release.caller_with(token.trim().to_owned()).await
}

#[tokio::test]
async fn an_account_may_do_what_the_values_say_and_no_other_is_let_in() {
    let namespace = Cluster::get().namespace("callers").await;
    let release = guarded(&namespace).await;
    let web = caller(&release, "web", "cloakroom").await;
    let (token, id) = web.create("alice").await;
    assert_eq!(web.validate(&token).await["valid"], true);
    let everybody = "/v1/sessions?confirm=all";
    refused(&web, Method::DELETE, everybody, 403, "forbidden").await;

    let support = caller(&release, "support", "cloakroom").await;
    let (status, gone) = support.call(Method::DELETE, everybody, None).await;
    assert_eq!((status, &gone["revoked"]), (200, &json!(1)), "{gone}");

    let path = format!("/v1/sessions/{id}");
    for (account, audience) in [("other", "cloakroom"), ("web", "billing"), ("default", "cloakroom")] {
        let stranger = caller(&release, account, audience).await;
        refused(&stranger, Method::GET, &path, 401, "unauthorized").await;
    }
    a_pod_calls_as_the_page_says(&namespace).await;
    // The ClusterRole, which is no namespace's, goes too.
    release.uninstall().await;
}

async fn refused(caller: &Caller, method: Method, path: &str, status: u16, code: &str) {
    let (answered, body) = caller.call(method, path, None).await;
    assert_eq!((answered, &body["code"]), (status, &json!(code)), "{body}");
}

/// The volume of `docs/kubernetes.md`: its block of YAML below the heading on callers.
fn documented_volumes() -> Value {
    let page = std::fs::read_to_string(helm::root().join("docs/kubernetes.md")).unwrap();
    let (_, section) = page
        .split_once("\n## Callers by service account\n")
        .expect("a section on callers");
    let (_, block) = section.split_once("```yaml\n").expect("a volume");
    let block: Value = serde_saphyr::from_str(block.split("```").next().unwrap()).unwrap();
    block["volumes"].clone()
}

/// A pod of the account `web` makes a session with the token that is mounted for it.
async fn a_pod_calls_as_the_page_says(namespace: &Namespace) {
    let call = r#"exec 3<>/dev/tcp/cloakroom/8080
        printf 'POST /v1/sessions HTTP/1.1\r\nHost: cloakroom\r\nConnection: close\r\n' >&3
        printf 'Authorization: Bearer %s\r\nContent-Type: application/json\r\n' "$(cat /token/token)" >&3
        printf 'Content-Length: 19\r\n\r\n{"user_id": "dana"}' >&3
        cat <&3"#;
    let volumes = documented_volumes();
    let locked = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"},
        "spec": {
            "serviceAccountName": "web", "automountServiceAccountToken": false, "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "shop", "image": SHELL_IMAGE, "command": ["bash", "-c", call], "securityContext": locked,
                "volumeMounts": [{"name": volumes[0]["name"], "mountPath": "/token"}],
            }],
            "volumes": volumes,
        },
    });
    namespace.apply(&pod.to_string()).await;
    let over = "--for=jsonpath={.status.phase}=Succeeded";
    namespace.kubectl(&["wait", over, "pod/shop", "--timeout=120s"]).await;
    let answer = namespace.kubectl(&["logs", "shop"]).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains(r#""user_id":"dana""#), "{answer}");
    namespace.kubectl(&["delete", "pod", "shop"]).await;
}
