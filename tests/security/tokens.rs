//! S01 to S06: what a token is, and what it is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::session::{Bucket, Random, RandomError, SystemRandom, Token};
use serde_json::{Value, json};

use crate::support::api::{Api, Setup, path_of};
use crate::support::broken_store::BrokenStore;
use crate::support::fleet::{Answer, Fleet};
use crate::support::redis_cluster::shared_cluster;
use crate::{cookie, unknown_token};

/// A generator that can be broken.
#[derive(Default)]
struct Brittle(AtomicBool);

impl Random for Brittle {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        if self.0.load(Ordering::SeqCst) {
            return Err(RandomError);
        }
        SystemRandom.fill(buffer)
    }
}

#[tokio::test]
async fn s01_a_generator_that_fails_makes_nothing_and_is_a_503() {
    let random = Arc::new(Brittle::default());
    let api = Api::with(Setup {
        random: Arc::clone(&random) as _,
        ..Setup::default()
    });
    let (alice, nobody) = (
        api.create(json!({"user_id": "alice"})).await,
        api.create(json!({})).await,
    );
    random.0.store(true, Ordering::SeqCst);
    let rotate = |made: &Value| format!("{}/rotate", path_of(made));
    for (path, body) in [
        ("/v1/sessions".to_owned(), json!({"user_id": "bob"})),
        ("/v1/sessions".to_owned(), json!({})),
        (rotate(&alice), json!({})),
        (rotate(&alice), json!({"user_id": "alice"})),
        (rotate(&nobody), json!({"user_id": "bob"})),
    ] {
        let answer = api.post(&path, body).await;
        answer.problem(503, "store_unavailable");
        assert!(!answer.body.contains("token"), "{}", answer.body);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    random.0.store(false, Ordering::SeqCst);
    for made in [&alice, &nobody] {
        assert_eq!(api.get(&path_of(made)).await.expect(200), made["session"]);
    }
    let bobs = api.get("/v1/users/bob/sessions").await.expect(200);
    assert_eq!(bobs, json!({"sessions": []}));
    api.post(&rotate(&nobody), json!({"user_id": "bob"})).await.expect(201);
}

#[test]
fn s01_a_token_has_256_random_bits() {
    const TOKENS: u32 = 4_000;
    let mut set = [0_u32; 256];
    let mut texts = BTreeSet::new();
    for _ in 0..TOKENS {
        let text = Token::generate(Bucket::new(7), &SystemRandom).unwrap().expose();
        let secret = URL_SAFE_NO_PAD.decode(&text[2..]).unwrap();
        assert_eq!(secret.len(), 32);
        for (bit, count) in set.iter_mut().enumerate() {
            *count += u32::from(secret[bit / 8] >> (bit % 8) & 1);
        }
        assert!(texts.insert(text), "a token came twice");
    }
    // Seven standard deviations around the half: a coin that is off by a tenth would not pass.
    for (bit, count) in set.into_iter().enumerate() {
        assert!(
            count.abs_diff(TOKENS / 2) < 222,
            "bit {bit} was set {count} times of {TOKENS}"
        );
    }
}

/// What differs between two `Set-Cookie` values, once their tokens are taken out.
fn without_token(set_cookie: &str, token: &str) -> String {
    assert_eq!(set_cookie.matches(token).count(), 1, "{set_cookie}");
    set_cookie.replace(token, "<token>")
}

#[tokio::test]
async fn s02_a_cookie_tells_neither_user_nor_time_nor_server() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let long = "x".repeat(256);
    let mut seen = BTreeSet::new();
    for (index, user) in ["a", "alice@example.org", &long].into_iter().enumerate() {
        let mut labels = BTreeSet::new();
        for replica in &fleet.replicas {
            let body = json!({"user_id": user, "data": {"n": index}, "roles": ["admin"]});
            let made = replica.call("POST", "/v1/sessions", body).await.expect(201).json();
            let token = made["token"].as_str().unwrap();
            assert_eq!(token.len(), Token::LENGTH);
            labels.insert(token[..2].to_owned());
            seen.insert(without_token(made["set_cookie"].as_str().unwrap(), token));
        }
        assert_eq!(labels.len(), 1, "a user's sessions are in one bucket");
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn s02_the_bucket_of_a_user_is_keyed_by_the_deployment() {
    const USERS: usize = 200;
    let deployments = [Api::new(), Api::new()];
    let mut same = 0;
    for number in 0..USERS {
        let mut labels = Vec::new();
        for api in &deployments {
            let made = api.create(json!({"user_id": format!("user-{number}")})).await;
            labels.push(made["token"].as_str().unwrap()[..2].to_owned());
        }
        same += usize::from(labels[0] == labels[1]);
    }
    // By chance one of 1,024.
    assert!(
        same < 10,
        "{same} of {USERS} users have the same bucket in two deployments"
    );
}

/// Whether a monitored command writes.
fn writes(name: &str) -> bool {
    !["EVALSHA", "EVAL", "HGETALL", "HGET", "GET", "TIME"].contains(&name)
}

#[tokio::test]
async fn s03_a_token_that_nobody_issued_is_refused_and_nothing_is_written() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let mut monitors = Vec::new();
    for node in cluster.primaries().await {
        monitors.push((node, node.monitor().await));
    }
    let mut ids = Vec::new();
    for replica in &fleet.replicas {
        let token = unknown_token();
        let id = token.parse::<Token>().unwrap().id().to_string();
        for path in ["/auth", "/session", "/session/csrf", "/session/all", "/ext_authz/x"] {
            replica.as_browser(path, &token).await.problem(401, "session_not_found");
            let header = replica
                .request("GET", path)
                .header("authorization", format!("Session {token}"));
            Answer::of(header).await.unwrap().problem(401, "session_not_found");
        }
        assert_eq!(
            replica.validate(&token).await,
            json!({"valid": false, "reason": "session_not_found"})
        );
        let path = format!("/v1/sessions/{id}");
        replica.get(&path).await.problem(404, "session_not_found");
        for (method, call) in [
            ("PATCH", ""),
            ("POST", "/touch"),
            ("POST", "/rotate"),
            ("POST", "/data/n/increment"),
        ] {
            let answer = replica.call(method, &format!("{path}{call}"), json!({})).await;
            answer.problem(404, "session_not_found");
        }
        replica.delete(&path).await.expect(204);
        ids.push(id);
    }
    let mut asked = 0;
    for (node, monitor) in &monitors {
        for command in monitor.commands(node).await {
            let names_one = |argument: &String| ids.iter().any(|id| argument.contains(id.as_str()));
            if command.arguments.iter().any(names_one) {
                asked += 1;
                assert!(!command.from_script || !writes(&command.name), "{command:?}");
            }
        }
    }
    assert!(asked > 0, "nothing was seen of the requests");
    for id in &ids {
        assert_eq!(cluster.keys(&format!("{}:*{id}*", fleet.prefix)).await, [""; 0]);
    }
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn s04_redis_never_sees_a_token_and_what_it_has_opens_nothing() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let mut monitors = Vec::new();
    for node in cluster.primaries().await {
        monitors.push((node, node.monitor().await));
    }
    let (mut tokens, mut made_of) = (Vec::new(), Vec::new());
    for user in ["alice", "bob"] {
        let body = json!({"user_id": user, "fingerprint": "the device of bob"});
        let made = fleet.at(0).call("POST", "/v1/sessions", body).await.expect(201).json();
        let path = path_of(&made);
        let rotated = fleet.at(1).call("POST", &format!("{path}/rotate"), json!({})).await;
        let rotated = rotated.expect(201).json();
        for made in [&made, &rotated] {
            tokens.push(made["token"].as_str().unwrap().to_owned());
            tokens.push(made["csrf_token"].as_str().unwrap().to_owned());
            assert!(fleet.at(2).is_valid(made["token"].as_str().unwrap()).await);
        }
        made_of.push(rotated);
    }
    let mut commands = 0;
    for (node, monitor) in &monitors {
        for command in monitor.commands(node).await {
            commands += 1;
            let tells = |argument: &String| {
                argument.contains("the device of bob") || tokens.iter().any(|token| argument.contains(&token[2..]))
            };
            assert!(!command.arguments.iter().any(tells), "{command:?}");
        }
    }
    assert!(commands > 20, "{commands} commands were seen");

    // What Redis does have, in a token's place.
    for made in &made_of {
        let (token, id) = (made["token"].as_str().unwrap(), made["session"]["id"].as_str().unwrap());
        let whole_hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let as_a_token = format!("{}{}", &id[..2], URL_SAFE_NO_PAD.encode(whole_hash));
        let padded = format!("{id}{}", "A".repeat(Token::LENGTH - id.len()));
        for stolen in [id, &as_a_token, &padded] {
            fleet
                .at(0)
                .as_browser("/auth", stolen)
                .await
                .problem(401, "session_not_found");
            fleet
                .at(1)
                .as_browser("/session", stolen)
                .await
                .problem(401, "session_not_found");
            assert!(!fleet.at(2).is_valid(stolen).await, "{stolen}");
        }
    }
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn s05_neither_a_url_nor_a_body_carries_a_token() {
    let api = Api::new();
    let (_, token) = api.alice().await;
    for path in ["/session", "/session/csrf", "/session/all", "/auth", "/ext_authz/x"] {
        for name in [
            "token",
            "session",
            "access_token",
            "__Host-cloakroom",
            "sid",
            "jsessionid",
        ] {
            let by_query = api.get(&format!("{path}?{name}={token}")).await;
            assert!(
                matches!(by_query.status.as_u16(), 400 | 401),
                "{path}?{name}: {}",
                by_query.body
            );
            let by_path = api.get(&format!("{path};{name}={token}")).await;
            assert!(
                matches!(by_path.status.as_u16(), 401 | 404),
                "{path};{name}: {}",
                by_path.body
            );
        }
        for body in [
            json!({"token": token}).to_string(),
            format!("token={token}"),
            token.clone(),
        ] {
            api.call("GET", path, &[], &body)
                .await
                .problem(401, "session_not_found");
        }
        for header in [
            "x-auth-token",
            "x-session",
            "x-session-token",
            "cookie2",
            "proxy-authorization",
        ] {
            let answer = api.call("GET", path, &[(header, &token)], "").await;
            answer.problem(401, "session_not_found");
        }
    }
}

#[tokio::test]
async fn s06_a_refused_cookie_asks_the_store_nothing() {
    // Whoever asks this store is answered 503.
    let api = Api::with(Setup {
        store: Some(Arc::new(BrokenStore::default())),
        ..Setup::default()
    });
    let token = unknown_token();
    let asks = api.call("GET", "/auth", &[("cookie", &cookie(&token))], "").await;
    asks.problem(503, "store_unavailable");
    let name = "__Host-cloakroom";
    let refused = [
        format!("{name}={token}; {name}={token}"),
        format!("{name}={token}; {name}={}", unknown_token()),
        format!("{name}=; {name}={token}"),
        format!("__HOST-cloakroom={token}"),
        format!("__host-Cloakroom={token}; {name}={token}"),
        format!("{name}=\"{token}\""),
        format!("{name}={token} {token}"),
        format!("{name}={token},{token}"),
        format!("{name}={token}\\"),
        format!("{name}={token}="),
        format!("{name}={}", &token[..44]),
        format!("{name}={token}A"),
        format!("{name}=AB{}", &token[2..]),
        format!("{name}=%{}", &token[1..]),
        format!("{name}={}", &token[..24]),
        format!("{name}={}", "A".repeat(4_096)),
        format!("{name}={}", "A".repeat(15_000)),
        name.to_owned(),
        format!("{name}=.."),
        format!("{name}=\u{fc}{token}"),
        format!("{name}=0"),
    ];
    for cookie in &refused {
        for path in ["/auth", "/session", "/ext_authz/x"] {
            let answer = api.call("GET", path, &[("cookie", cookie)], "").await;
            answer.problem(401, "session_not_found");
        }
        let leaves = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        api.call("DELETE", "/session", &leaves, "").await.expect(204);
    }
    for header in [
        "Session",
        "Session ",
        "Session x",
        "session  \t",
        &format!("Session {token} x"),
    ] {
        let answer = api.call("GET", "/auth", &[("authorization", header)], "").await;
        answer.problem(401, "session_not_found");
    }
}
