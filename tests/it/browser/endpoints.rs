use std::time::Duration;

use cloakroom::http::HttpSettings;
use cloakroom::web::CookieSettings;
use serde_json::{Value, json};

use crate::http::{Answer, Api, NOBODY, Setup};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const HOST: (&str, &str) = ("host", "shop.example");

/// A browser with a session of its own.
struct Browser<'a> {
    api: &'a Api,
    cookie: String,
    made: Value,
}

impl<'a> Browser<'a> {
    async fn of(api: &'a Api, user: &str) -> Self {
        let made = api.create(json!({"user_id": user})).await;
        let cookie = format!("__Host-cloakroom={}", made["token"].as_str().unwrap());
        Self { api, cookie, made }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let cookie = [("cookie", self.cookie.as_str())];
        self.api.call(method, path, &[&cookie[..], headers].concat(), "").await
    }

    fn id(&self) -> &str {
        self.made["session"]["id"].as_str().unwrap()
    }

    fn csrf(&self) -> &str {
        self.made["csrf_token"].as_str().unwrap()
    }

    async fn is_logged_in(&self) -> bool {
        self.send("GET", "/session", &[]).await.status.as_u16() == 200
    }
}

#[tokio::test]
async fn s30_log_out_ends_the_session_and_clears_the_cookie() {
    let settings = HttpSettings {
        cookie: CookieSettings {
            name: "__Host-cloakroom".to_owned(),
            partitioned: true,
            ..CookieSettings::default()
        },
        ..HttpSettings::default()
    };
    let api = Api::with(Setup {
        settings,
        ..Setup::default()
    });
    let alice = Browser::of(&api, "alice").await;
    let answer = alice.send("DELETE", "/session", &[SAME_ORIGIN]).await;
    answer.expect(204);
    assert_eq!(
        answer.header("set-cookie"),
        "__Host-cloakroom=; Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned; Max-Age=0"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!alice.is_logged_in().await);
}

#[tokio::test]
async fn s27_a_log_out_of_no_session_is_answered_alike() {
    let api = Api::new();
    let alice = Browser::of(&api, "alice").await;
    let first = alice.send("DELETE", "/session", &[SAME_ORIGIN]).await;
    let again = alice.send("DELETE", "/session", &[SAME_ORIGIN]).await;
    let nobody = api.call("DELETE", "/session", &[SAME_ORIGIN], "").await;
    for answer in [&first, &again, &nobody] {
        answer.expect(204);
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        let mut expected = first.headers.clone();
        expected.remove("x-request-id");
        assert_eq!(headers, expected);
    }
    // The token of the ended session still proves that it was ours to end.
    let csrf = [("x-csrf-token", alice.csrf())];
    alice.send("DELETE", "/session", &csrf).await.expect(204);
    api.call("DELETE", "/session", &csrf, "")
        .await
        .problem(403, "csrf_mismatch");
}

#[tokio::test]
async fn s36_an_unsafe_request_must_prove_its_origin() {
    let api = Api::new();
    let stranger = Browser::of(&api, "mallory").await;
    let refused: [&[(&str, &str)]; 12] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[
            ("sec-fetch-site", "cross-site"),
            HOST,
            ("origin", "https://shop.example"),
        ],
        &[SAME_ORIGIN, ("sec-fetch-site", "cross-site")],
        &[HOST, ("origin", "https://evil.example")],
        &[HOST, ("origin", "https://shop.example:8443")],
        &[HOST, ("origin", "null")],
        &[HOST, ("origin", "https://shop.example.evil.example")],
        &[("origin", "https://shop.example")],
        &[("x-csrf-token", stranger.csrf())],
    ];
    let alice = Browser::of(&api, "alice").await;
    for headers in refused {
        for path in ["/session", "/session/others", &format!("/session/all/{}", alice.id())] {
            alice.send("DELETE", path, headers).await.problem(403, "csrf_mismatch");
        }
    }
    let twice = [("x-csrf-token", alice.csrf()), ("x-csrf-token", alice.csrf())];
    alice
        .send("DELETE", "/session", &twice)
        .await
        .problem(403, "csrf_mismatch");
    assert!(alice.is_logged_in().await);

    let accepted: [&[(&str, &str)]; 4] = [
        &[SAME_ORIGIN],
        &[HOST, ("origin", "https://shop.example")],
        &[("host", "SHOP.example:443"), ("origin", "https://shop.example")],
        &[HOST, ("origin", "http://shop.example:80")],
    ];
    for headers in accepted {
        let alice = Browser::of(&api, "alice").await;
        alice.send("DELETE", "/session", headers).await.expect(204);
    }
    let csrf = [("sec-fetch-site", "cross-site"), ("x-csrf-token", alice.csrf())];
    alice.send("DELETE", "/session", &csrf).await.expect(204);
}

#[tokio::test]
async fn s37_the_csrf_token_is_the_sessions_and_new_with_each_token() {
    let api = Api::new();
    let alice = Browser::of(&api, "alice").await;
    let answer = alice.send("GET", "/session/csrf", &[]).await.expect(200);
    assert_eq!(answer, json!({"csrf_token": alice.csrf()}));
    let path = format!("/v1/sessions/{}/rotate", alice.id());
    let renewed = api.post(&path, json!({})).await.expect(201);
    assert_ne!(renewed["csrf_token"], alice.csrf());
    // Within the grace, a page made before the rotation goes on working.
    let old_page = [("x-csrf-token", alice.csrf())];
    alice.send("DELETE", "/session/others", &old_page).await.expect(200);
    api.call("GET", "/session/csrf", &[], "")
        .await
        .problem(401, "session_not_found");
}

#[tokio::test]
async fn s25_a_user_lists_and_ends_own_sessions() {
    let api = Api::new();
    let [phone, laptop, tablet] = [
        Browser::of(&api, "alice").await,
        Browser::of(&api, "alice").await,
        Browser::of(&api, "alice").await,
    ];
    let bob = Browser::of(&api, "bob").await;
    let listed = phone.send("GET", "/session/all", &[]).await.expect(200);
    let mut ids: Vec<_> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    let mut expected = [phone.id(), laptop.id(), tablet.id()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for browser in [&phone, &laptop, &tablet, &bob] {
        let token = browser.made["token"].as_str().unwrap();
        assert!(
            !listed.to_string().contains(token),
            "no token in what scripts can read (S35)"
        );
    }

    let end = async |id: &str| {
        phone
            .send("DELETE", &format!("/session/all/{id}"), &[SAME_ORIGIN])
            .await
    };
    let answer = end(laptop.id()).await;
    answer.expect(204);
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(!laptop.is_logged_in().await);
    // Somebody else's session, or none: answered alike, and nothing happens.
    end(bob.id()).await.expect(204);
    end(NOBODY.rsplit('/').next().unwrap()).await.expect(204);
    end("nonsense").await.problem(400, "invalid_request");
    assert!(bob.is_logged_in().await && tablet.is_logged_in().await);

    let revoked = phone
        .send("DELETE", "/session/others", &[SAME_ORIGIN])
        .await
        .expect(200);
    assert_eq!(revoked, json!({"revoked": 1}));
    assert!(phone.is_logged_in().await && !tablet.is_logged_in().await && bob.is_logged_in().await);
    let own = end(phone.id()).await;
    own.expect(204);
    assert!(own.header("set-cookie").ends_with("Max-Age=0"));
    assert!(!phone.is_logged_in().await);
}

#[tokio::test]
async fn s25_devices_need_a_recent_authentication() {
    let api = Api::new();
    let alice = Browser::of(&api, "alice").await;
    let own = format!("/session/all/{}", alice.id());
    let calls = [
        ("GET", "/session/all"),
        ("DELETE", "/session/others"),
        ("DELETE", own.as_str()),
    ];
    api.clock.advance(Duration::from_mins(10));
    alice.send("GET", "/session/all", &[]).await.expect(200);
    api.clock.advance(Duration::from_millis(1));
    for (method, path) in calls {
        alice
            .send(method, path, &[SAME_ORIGIN])
            .await
            .problem(403, "reauthentication_required");
    }
    let made = api.create(json!({})).await;
    let cookie = format!("__Host-cloakroom={}", made["token"].as_str().unwrap());
    let anonymous = api.call("GET", "/session/all", &[("cookie", &cookie)], "").await;
    anonymous.problem(403, "reauthentication_required");
    alice.send("DELETE", "/session", &[SAME_ORIGIN]).await.expect(204);
}

#[tokio::test]
async fn s39_reading_changes_nothing() {
    let api = Api::new();
    let alice = Browser::of(&api, "alice").await;
    for path in ["/session", "/session/csrf", "/session/all", "/auth"] {
        for method in ["GET", "HEAD"] {
            let answer = alice.send(method, path, &[]).await;
            assert_eq!(answer.status.as_u16(), 200, "{method} {path}");
            assert_eq!(answer.header("vary"), "Cookie, Authorization");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }
    let now = alice.send("GET", "/session", &[]).await.expect(200);
    assert_eq!(now, alice.made["session"]);
}
