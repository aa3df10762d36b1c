//! Callers that show the token of their service account.

use cloakroom::session::{Clock as _, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use k8s_openapi::api::core::v1::{Pod as PodObject, ServiceAccount};
use kube::api::DeleteParams;
use serde_json::json;

use crate::api_server::{self, ISSUER};
use crate::pod::{Pod, Store};
use crate::site::{Site, ready};
use crate::support::single_redis::shared_single_redis;
use crate::support::wait::{SOON, eventually};

/// A server that accepts the accounts `web` (read, write) and `viewer` (read).
async fn guarded() -> (Site, Pod) {
    let site = Site::new(api_server::shared().await).await;
    for account in ["web", "viewer", "other"] {
        site.add_account(account).await;
    }
    site.add_pod("cloakroom-a").await;
    site.list(&[ready("cloakroom-a")]).await;
    let store = Store::of(shared_single_redis().await);
    let at = &site.namespace;
    let accounts = format!("{at}/web: sessions:read sessions:write, {at}/viewer: sessions:read");
    let pod = Pod::start(
        &site,
        "cloakroom-a",
        &store,
        &[("kubernetes.service_accounts", &accounts)],
    )
    .await;
    (site, pod)
}

/// How many reviews the API server was asked for until now, by anybody.
async fn reviews() -> f64 {
    let metrics = api_server::shared().await.raw("/metrics").await.unwrap();
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{") && line.contains(r#"resource="tokenreviews""#));
    counts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn an_account_may_do_what_the_settings_say_and_no_other_may_call() {
    let (site, pod) = guarded().await;
    let web = site.token("web", Some("cloakroom"), None).await;
    let viewer = site.token("viewer", Some("cloakroom"), None).await;
    pod.call_as(&web, "POST", "/v1/sessions", Some(json!({})))
        .await
        .expect(201);
    pod.call_as(&viewer, "GET", "/v1/stats", None).await.expect(200);
    pod.call_as(&viewer, "POST", "/v1/sessions", Some(json!({})))
        .await
        .problem(403, "forbidden");
    pod.call_as(&web, "DELETE", "/v1/sessions?confirm=all", None)
        .await
        .problem(403, "forbidden");
    let other = site.token("other", Some("cloakroom"), None).await;
    let for_api_server = site.token("web", None, None).await;
    let for_another = site.token("web", Some("billing"), None).await;
    for refused in [
        &other,
        &for_api_server,
        &for_another,
        &format!("{web}x"),
        &web[..web.len() - 4].to_owned(),
    ] {
        pod.call_as(refused, "GET", "/v1/stats", None)
            .await
            .problem(401, "unauthorized");
    }
    // JWTs go on beside them.
    pod.call("GET", "/v1/stats", None).await.expect(200);
    let log = pod.program.output().join("\n");
    for token in [&web, &viewer, &other, &for_another] {
        assert!(
            !log.contains(token.rsplit('.').next().unwrap()),
            "a token is in the log"
        );
    }
}

/// Signed with the API server's own key, and right in everything but its time.
#[tokio::test]
async fn an_expired_token_is_refused() {
    let (site, pod) = guarded().await;
    let account = site.all::<ServiceAccount>().get("web").await.unwrap();
    let (namespace, uid) = (&site.namespace, account.metadata.uid.unwrap());
    let now = i64::try_from(SystemClock.now().as_millis() / 1000).unwrap();
    let token = |exp: i64| {
        let claims = json!({
            "iss": ISSUER, "aud": ["cloakroom"], "sub": format!("system:serviceaccount:{namespace}:web"),
            "iat": now - 7200, "nbf": now - 7200, "exp": exp, "jti": format!("{uid}-{exp}"),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": "web", "uid": uid}},
        });
        let key = EncodingKey::from_ec_pem(site.server.account_key().as_bytes()).unwrap();
        encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
    };
    pod.call_as(&token(now + 600), "GET", "/v1/stats", None)
        .await
        .expect(200);
    pod.call_as(&token(now - 600), "GET", "/v1/stats", None)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn an_accepted_token_is_remembered_and_a_revoked_one_refused_soon() {
    let (site, pod) = guarded().await;
    let web = site.token("web", Some("cloakroom"), None).await;
    let before = reviews().await;
    for _ in 0..200 {
        pod.call_as(&web, "GET", "/v1/stats", None).await.expect(200);
    }
    // Other tests ask too, but not two hundred times.
    let asked = reviews().await - before;
    assert!(asked < 50.0, "the API server was asked {asked} times");

    site.remove_account("web").await;
    eventually(SOON, "the token of a removed account to be refused", async || {
        pod.call_as(&web, "GET", "/v1/stats", None).await.status == 401
    })
    .await;
}

#[tokio::test]
async fn the_token_of_a_pod_that_is_gone_is_refused_soon() {
    let (site, pod) = guarded().await;
    site.add_pod_of("web", "client").await;
    let bound = site.token("web", Some("cloakroom"), Some("client")).await;
    pod.call_as(&bound, "GET", "/v1/stats", None).await.expect(200);
    let at_once = DeleteParams::default().grace_period(0);
    site.all::<PodObject>().delete("client", &at_once).await.unwrap();
    eventually(SOON, "the token to be refused", async || {
        pod.call_as(&bound, "GET", "/v1/stats", None).await.status == 401
    })
    .await;
}

#[tokio::test]
async fn without_the_right_to_ask_nobody_is_refused_but_told_to_come_again() {
    let (site, pod) = guarded().await;
    let web = site.token("web", Some("cloakroom"), None).await;
    site.allow_reviews(false).await;
    eventually(SOON, "the right to be gone", async || {
        let answer = pod.call_as(&web, "GET", "/v1/stats", None).await;
        (answer.status != 200).then_some(answer)
    })
    .await
    .problem(503, "authentication_unavailable");
    site.allow_reviews(true).await;
    eventually(SOON, "the right to be back", async || {
        pod.call_as(&web, "GET", "/v1/stats", None).await.status == 200
    })
    .await;
}
