//! Values that contradict each other end in a sentence that says what to change.

use crate::{BUNDLED, has_helm, helm};

const OWN: &[&str] = &["--set", "redis.urls={redis://redis:6379}"];

/// Renders with these `--set` values on top of a base, and returns the sentence of the refusal.
fn refusal(base: &[&str], values: &[&str]) -> String {
    let set = values.iter().flat_map(|value| ["--set", value]);
    let arguments: Vec<_> = base.iter().copied().chain(set).collect();
    match helm::render(&arguments) {
        Ok(_) => panic!("{arguments:?} is taken"),
        Err(refusal) => refusal,
    }
}

#[track_caller]
fn refused(base: &[&str], values: &[&str], told: &[&str]) {
    if !has_helm() {
        return;
    }
    let refusal = refusal(base, values);
    for part in told {
        assert!(refusal.contains(part), "{values:?}: no {part:?} in: {refusal}");
    }
}

#[test]
fn there_is_one_redis() {
    refused(
        &[],
        &[],
        &["There is no Redis", "redis.urls", "redis.bundled.enabled=true"],
    );
    refused(
        BUNDLED,
        &["redis.urls={redis://redis:6379}"],
        &["There are two Redis", "Remove redis.urls"],
    );
    refused(BUNDLED, &["redis.username=app"], &["remove redis.username"]);
}

#[test]
fn tls_is_for_urls_that_have_it() {
    refused(
        OWN,
        &["redis.tls.enabled=true"],
        &["begin redis://redis:6379 with rediss://"],
    );
    refused(OWN, &["redis.tls.existingSecret=ca"], &["rediss://"]);
    refused(BUNDLED, &["redis.tls.enabled=true"], &["The bundled Redis has no TLS"]);
    let mixed = ["redis.urls={rediss://a:6379,redis://b:6379}", "redis.tls.enabled=true"];
    refused(&[], &mixed, &["begin redis://b:6379"]);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let values = ["redis.urls={redis://app:hunter2@redis:6379}"];
    refused(&[], &values, &["redis.existingSecret"]);
    refused(&[], &[values[0], "redis.tls.enabled=true"], &["redis://…@redis:6379"]);
    if has_helm() {
        assert!(!refusal(&[], &values).contains("hunter2"));
    }
}

#[test]
fn a_budget_lets_some_pod_go() {
    let told = ["forbids every eviction"];
    refused(BUNDLED, &["podDisruptionBudget.maxUnavailable=0"], &told);
    refused(BUNDLED, &["podDisruptionBudget.maxUnavailable=0%"], &told);
    refused(
        BUNDLED,
        &["podDisruptionBudget.minAvailable=2"],
        &["or raise replicaCount"],
    );
    refused(BUNDLED, &["podDisruptionBudget.minAvailable=100%"], &told);
    refused(
        BUNDLED,
        &["replicaCount=3", "podDisruptionBudget.minAvailable=67%"],
        &told,
    );
    let scaled = ["autoscaling.enabled=true", "podDisruptionBudget.minAvailable=2"];
    refused(BUNDLED, &scaled, &["or raise autoscaling.minReplicas"]);
    let both = [
        "podDisruptionBudget.minAvailable=1",
        "podDisruptionBudget.maxUnavailable=1",
    ];
    refused(BUNDLED, &both, &["both minAvailable and maxUnavailable"]);
}

#[test]
fn budgets_that_let_a_pod_go_are_taken() {
    if !has_helm() {
        return;
    }
    for values in [
        "podDisruptionBudget.minAvailable=1",
        "podDisruptionBudget.minAvailable=50%",
        "replicaCount=3,podDisruptionBudget.minAvailable=66%",
        "replicaCount=1",
        "podDisruptionBudget.maxUnavailable=34%",
        "podDisruptionBudget.enabled=false,podDisruptionBudget.maxUnavailable=0",
    ] {
        helm::render(&[BUNDLED, &["--set", values]].concat()).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}

#[test]
fn a_pod_lives_until_its_drain_is_over() {
    let told = ["terminationGracePeriodSeconds", "shorten the drain"];
    refused(BUNDLED, &["terminationGracePeriodSeconds=30"], &told);
    refused(BUNDLED, &["config.shutdown.drain=1m"], &["Set it to 71 or more"]);
    refused(
        BUNDLED,
        &["config.shutdown.drain=1h30m"],
        &["5400"].map(|_| "Set it to 5411 or more"),
    );
    refused(BUNDLED, &["preStopSeconds=30"], &told);
}

#[test]
fn a_drain_that_fits_is_taken() {
    if !has_helm() {
        return;
    }
    for values in [
        "config.shutdown.drain=29s",
        "config.shutdown.drain=500ms,terminationGracePeriodSeconds=8",
        "config.shutdown.drain=1m,terminationGracePeriodSeconds=71",
    ] {
        helm::render(&[BUNDLED, &["--set", values]].concat()).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}

#[test]
fn pods_can_be_replaced_and_scaled() {
    let stuck = ["updateStrategy.rollingUpdate.maxSurge=0"];
    refused(BUNDLED, &stuck, &["set maxSurge to 1 or more"]);
    let scaled = "autoscaling.enabled=true";
    refused(
        BUNDLED,
        &[scaled, "autoscaling.minReplicas=20"],
        &["minReplicas (20) is more than"],
    );
    let aimless = [scaled, "autoscaling.targetCPUUtilizationPercentage=null"];
    refused(BUNDLED, &aimless, &["nothing to go by"]);
    refused(
        BUNDLED,
        &[scaled, "resources.requests.cpu=null"],
        &["set resources.requests.cpu"],
    );
    let memory = [
        scaled,
        "autoscaling.targetMemoryUtilizationPercentage=80",
        "resources.requests.memory=null",
    ];
    refused(BUNDLED, &memory, &["set resources.requests.memory"]);
}

#[test]
fn callers_are_vouched_for_by_somebody() {
    let account =
        "serviceAccounts[0].namespace=shop,serviceAccounts[0].name=web,serviceAccounts[0].scopes={sessions:read}";
    refused(
        BUNDLED,
        &["kubernetes.enabled=false", account],
        &["set kubernetes.enabled=true"],
    );
    refused(BUNDLED, &["serviceAccount.create=false"], &["serviceAccount.name"]);
}

#[test]
fn entrances_lead_somewhere() {
    refused(BUNDLED, &["ingress.enabled=true"], &["ingress.hosts is empty"]);
    refused(BUNDLED, &["httpRoute.enabled=true"], &["httpRoute.parentRefs is empty"]);
    refused(BUNDLED, &["service.nodePort=30080"], &["set service.type=NodePort"]);
}

#[test]
fn pods_are_scraped_once() {
    let both = ["metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"];
    refused(BUNDLED, &both, &["scraped twice"]);
}

#[test]
fn a_setting_has_one_place() {
    for (setting, value) in [
        ("redis.urls={redis://a:1}", "redis.urls"),
        ("redis.password=secret", "redis.existingSecret"),
        ("jwt.secret=secret", "jwt.existingSecret"),
        ("jwt.jwks_url=https://a", "jwt.jwksUrl"),
        ("jwt.issuer=a", "jwt.issuer"),
        ("kubernetes.service_accounts={a}", "serviceAccounts"),
    ] {
        let given = format!("config.{setting}");
        let told = format!("set {value} instead");
        refused(BUNDLED, &[&given], &["belongs to a value of its own", &told]);
    }
    refused(
        BUNDLED,
        &["config.listen=127.0.0.1:80"],
        &["config.listen is set by the chart"],
    );
    refused(BUNDLED, &["config.kubernetes.lease=x"], &["is set by the chart"]);
    let file =
        "settingsFromSecrets[0].setting=jwt.secret_file,settingsFromSecrets[0].secret=a,settingsFromSecrets[0].key=b";
    refused(BUNDLED, &[file], &["set jwt.existingSecret instead"]);
    let twice =
        "settingsFromSecrets[0].setting=token.keys_file,settingsFromSecrets[0].secret=a,settingsFromSecrets[0].key=b";
    refused(
        BUNDLED,
        &[twice, "config.token.keys_file=/a"],
        &["in config and in settingsFromSecrets"],
    );
}
