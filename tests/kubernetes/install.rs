//! A first installation: ready soon, used as the notes say, and locked up as it should be.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::cluster::Cluster;
use crate::support::namespace::Namespace;
use crate::support::release::Release;
use crate::wait::eventually;

pub(crate) const BUNDLED: &[&str] = &["--set", "redis.bundled.enabled=true"];

/// The image with a shell that every cluster of these tests has.
pub(crate) const SHELL_IMAGE: &str = "docker.io/library/redis:7.4-bookworm";

/// "To all pods ready in under a minute."
const A_MINUTE: Duration = Duration::from_mins(1);

/// `coherence.staleness_bound`: no server answers from a memory that is older.
const STALENESS_BOUND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn with_a_redis_that_comes_along_nothing_else_is_needed() {
    let namespace = Cluster::get().namespace("first").await;
    let begun = Instant::now();
    let release = namespace.install("cloakroom", BUNDLED).await;
    let took = begun.elapsed();
    eprintln!("installed in {took:?}");
    assert!(took < A_MINUTE, "all pods ready after {took:?}");

    let pods = release.pods().await;
    assert_eq!(pods.len(), 2);
    sessions_are_shared(&release).await;
    the_next_step_works(&release).await;
    release.test().await;
}

/// "With default values and one line for Redis is enough."
#[tokio::test]
async fn one_line_for_redis_is_enough() {
    let namespace = Cluster::get().namespace("line").await;
    own_redis(&namespace).await;
    let release = namespace
        .install("cloakroom", &["--set", "redis.urls={redis://redis:6379}"])
        .await;
    sessions_are_shared(&release).await;
    release.test().await;
}

/// A Redis without anything: whoever reaches it may use it.
async fn own_redis(namespace: &Namespace) {
    let labels = json!({"app": "redis"});
    let locked = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "redis", "labels": labels},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "redis", "image": SHELL_IMAGE, "securityContext": locked,
                "args": ["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/tmp"],
            }],
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"},
        "spec": {"selector": labels, "ports": [{"port": 6379}]},
    });
    namespace.apply(&pod.to_string()).await;
    namespace.apply(&service.to_string()).await;
}

/// A session made by one pod is known to all, and when it has ended it has ended for all.
pub(crate) async fn sessions_are_shared(release: &Release<'_>) {
    let caller = release.caller("sessions:write").await;
    let (token, id) = caller.create("alice").await;
    for _ in 0..20 {
        let judged = caller.validate(&token).await;
        assert_eq!(judged["session"]["user_id"], "alice", "{judged}");
    }
    let (status, _) = caller.call(Method::DELETE, &format!("/v1/sessions/{id}"), None).await;
    assert_eq!(status, 204);
    // What the service promises is a length of time, however busy the machine is.
    tokio::time::sleep(STALENESS_BOUND).await;
    for _ in 0..20 {
        assert_eq!(caller.validate(&token).await["valid"], false);
    }
}

/// The indented lines of the notes, pasted into a shell.
async fn the_next_step_works(release: &Release<'_>) {
    let steps: Vec<_> = release.notes.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(steps.len() >= 4, "{}", release.notes);
    let forwarded = |line: &&str| line.contains("port-forward");
    assert!(steps.iter().any(forwarded), "{steps:?}");
    // The port of the notes may be taken on this machine, and somebody has to end what goes on in the background.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let lines = steps.join("\n").replace("8080:8080", &format!("{port}:8080"));
    let lines = lines.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
    let printed = release.paste(&format!("{lines}\nkill %1")).await;
    assert!(printed.contains(r#""user_id":"dana""#), "{printed}");
}

/// What the kernel says about the process, asked from beside it.
#[tokio::test]
async fn the_process_has_no_rights_and_no_file_to_write() {
    let namespace = Cluster::get().namespace("rights").await;
    let values = [BUNDLED, &["--set", "kubernetes.enabled=false,replicaCount=1"]].concat();
    let release = namespace.install("cloakroom", &values).await;
    let pod = release.pods().await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let look = "grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/1/status; \
                touch /proc/1/root/probe /proc/1/root/etc/cloakroom/probe /proc/1/root/tmp/probe 2>&1; \
                ls /proc/1/root/var/run/secrets/kubernetes.io 2>&1; ls /proc/1/root/run/secrets/cloakroom";
    let target = [
        "--target",
        "cloakroom",
        "--container",
        "look",
        "--profile",
        "restricted",
    ];
    let arguments = [
        &[
            "debug",
            &pod,
            "--image",
            SHELL_IMAGE,
            "--image-pull-policy=IfNotPresent",
        ][..],
        &target,
    ]
    .concat();
    namespace
        .kubectl(&[&arguments[..], &["--", "sh", "-c", &format!("{look}; echo looked")]].concat())
        .await;
    let seen = eventually(Duration::from_mins(1), "the look at the process", async || {
        let log = namespace.try_kubectl(&["logs", &pod, "--container", "look"]).await;
        log.stdout.contains("looked").then_some(log.stdout)
    })
    .await;
    let has = |line: &str| {
        let squeezed = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains(line), "no {line:?} in: {seen}");
    };
    has("Uid: 65532 65532 65532 65532");
    has("Gid: 65532 65532 65532 65532");
    has("CapEff: 0000000000000000");
    has("CapBnd: 0000000000000000");
    has("NoNewPrivs: 1");
    has("Seccomp: 2");
    assert_eq!(seen.matches("Read-only file system").count(), 3, "{seen}");
    assert!(
        seen.contains("kubernetes.io': No such file"),
        "a token is mounted: {seen}"
    );
    has("jwt.secret_file");
}

#[tokio::test]
async fn a_pod_that_breaks_the_standard_is_refused_here() {
    let namespace = Cluster::get().namespace("standard").await;
    let arguments = [BUNDLED, &["--set", "securityContext.allowPrivilegeEscalation=true"]].concat();
    let fixed = ["install", "cloakroom", "helm/cloakroom", "--wait", "--timeout=5s"];
    namespace.try_helm(&[&fixed[..], &arguments].concat()).await;
    let events = namespace.list(&["events"]).await;
    let refused = |event: &serde_json::Value| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("violates PodSecurity") && message.contains("restricted")
    };
    assert!(events.iter().any(refused), "{}", json!(events));
}
