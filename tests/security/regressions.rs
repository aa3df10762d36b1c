//! What befell other projects, each by the advisory that tells of it. r04 and r07 need the fixtures of the coherence
//! tests and are in `tests/it/coherence/beyond.rs`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::session::Token;
use cloakroom::sessions::CacheSettings;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::operations::{jwt, verifier};
use crate::pod::memory;
use crate::smuggling::Behind;
use crate::support::api::{Api, Setup, path_of};
use crate::support::fleet::{Answer, Fleet};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};
use crate::{cookie, unknown_token};

/// CVE-2024-38513 (gofiber): the session middleware took an id that the client had chosen, and made a session of it.
#[tokio::test]
async fn r01_a_token_that_a_client_chose_never_becomes_a_session() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let chosen = unknown_token();
    let id = chosen.parse::<Token>().unwrap().id().to_string();
    for replica in &fleet.replicas {
        for path in ["/session", "/auth", "/session/csrf"] {
            let answer = replica
                .as_browser(path, &chosen)
                .await
                .problem(401, "session_not_found");
            assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        }
        // An application that logs in whoever brings this cookie gets another token than that.
        let request = replica
            .request("POST", "/v1/sessions")
            .header("cookie", cookie(&chosen));
        let request = request
            .header("authorization", &replica.credential)
            .json(&json!({"user_id": "victim"}));
        let (path, token) = Answer::of(request).await.unwrap().expect(201).issued();
        assert!(token != chosen && !path.ends_with(&id));
        let rotate = json!({"user_id": "victim"});
        replica
            .call("POST", &format!("/v1/sessions/{id}/rotate"), rotate)
            .await
            .problem(404, "session_not_found");
        replica
            .call("PUT", &format!("/v1/sessions/{id}/data/a"), json!(1))
            .await
            .problem(404, "session_not_found");
    }
    for replica in &fleet.replicas {
        replica
            .as_browser("/auth", &chosen)
            .await
            .problem(401, "session_not_found");
    }
    assert_eq!(fleet.finish(cluster).await.sessions, 3);
}

/// CVE-2022-25896 and CVE-2023-29019 (passport): the id of before the log-in was kept, or came back with the data.
#[tokio::test]
async fn r02_no_log_in_keeps_the_id_of_before() {
    let api = Api::new();
    let planted = api
        .create(json!({"data": {"returnTo": "https://evil.example", "csrf": "known"}}))
        .await;
    let rotate = |made: &serde_json::Value| format!("{}/rotate", path_of(made));
    let logged_in = api
        .post(&rotate(&planted), json!({"user_id": "victim"}))
        .await
        .expect(201);
    assert_eq!(logged_in["session"]["data"], json!({}));
    // Logged in already, and once more: no token of before opens anything.
    let again = api
        .post(&rotate(&logged_in), json!({"user_id": "victim"}))
        .await
        .expect(201);
    for old in [&planted, &logged_in] {
        let cookie = cookie(old["token"].as_str().unwrap());
        api.call("GET", "/auth", &[("cookie", &cookie)], "")
            .await
            .problem(401, "session_not_found");
        api.get(&path_of(old)).await.problem(404, "session_not_found");
        api.call("PATCH", &path_of(old), &[], "{}")
            .await
            .problem(404, "session_not_found");
        assert_ne!(old["csrf_token"], again["csrf_token"]);
    }
}

/// CVE-2023-20862 (Spring Security), express-session#632, connect-redis#328: the end of a request that had begun before
/// the log-out saved the session anew.
#[tokio::test]
async fn r03_a_request_that_began_before_the_log_out_saves_nothing() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, token) = fleet.at(0).create(json!({"user_id": "alice", "data": {"n": 1}})).await;
    let calls = [
        ("PATCH", path.clone(), r#"{"data":{"n":2}}"#),
        ("PUT", format!("{path}/data/n"), "3"),
        ("POST", format!("{path}/rotate"), r#"{"keep":["n"]}"#),
        ("POST", format!("{path}/rotate"), r#"{"user_id":"alice"}"#),
        (
            "POST",
            format!("{path}/cart/items"),
            r#"{"product_id":"tea","quantity":1}"#,
        ),
        ("POST", format!("{path}/activity"), r#"{"action":"look"}"#),
        ("POST", format!("{path}/data/n/increment"), r#"{"by":5}"#),
        ("POST", format!("{path}/migrate"), r#"{"server_id":"replica-1"}"#),
    ];
    // Each has sent all but the last byte of its body.
    let mut begun = Vec::new();
    for (index, (method, path, body)) in calls.iter().enumerate() {
        let replica = fleet.at(index);
        let mut socket = TcpStream::connect(replica.traffic).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{}",
            replica.credential,
            body.len(),
            &body[..body.len() - 1],
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        begun.push((socket, &body[body.len() - 1..]));
    }
    fleet.at(2).delete(&path).await.expect(204);
    for ((mut socket, last), call) in begun.into_iter().zip(&calls) {
        socket.write_all(last.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{call:?}: {answer}");
    }
    fleet
        .all_show("the end", async |replica| {
            replica.as_browser("/auth", &token).await.status == 401
        })
        .await;
    let audit = fleet.finish(cluster).await;
    assert_eq!((audit.sessions, audit.users), (0, 0));
}

/// GHSA-x937-hj6v-793p: a cache answered before anybody looked at the deadline.
#[tokio::test]
async fn r05_memory_answers_nothing_past_the_deadline() {
    let api = Api::with(Setup {
        fed: true,
        cache: Some(CacheSettings {
            // Nothing but the deadline is in the way of an answer.
            staleness_bound: Duration::from_hours(1_000),
            max_age: Duration::from_hours(1_000),
            ..memory()
        }),
        ..Setup::default()
    });
    let made = api.create(json!({"user_id": "alice", "class": "temporary"})).await;
    let (path, token) = (path_of(&made), made["token"].as_str().unwrap());
    let hits = api.metrics.reads.with_label_values(&["l1"]);
    eventually(SOON, "memory to answer", async || {
        let before = hits.get();
        api.get(&path).await.expect(200);
        hits.get() > before
    })
    .await;
    api.clock
        .advance(Duration::from_mins(5).saturating_sub(Duration::from_millis(2)));
    let before = hits.get();
    api.get(&path).await.expect(200);
    assert!(hits.get() > before, "memory answers to the last");
    api.clock.advance(Duration::from_millis(2));
    let before = hits.get();
    api.get(&path).await.problem(404, "session_not_found");
    for face in ["/auth", "/session", "/session/csrf", "/ext_authz/x"] {
        let answer = api.call("GET", face, &[("cookie", &cookie(token))], "").await;
        answer.problem(401, "session_expired");
    }
    let judged = api
        .post("/v1/sessions/validate", json!({"token": token}))
        .await
        .expect(200);
    assert_eq!(judged, json!({"valid": false, "reason": "session_expired"}));
    assert_eq!(hits.get(), before, "nothing of it came from memory");
}

/// CVE-2021-32701 (ORY Oathkeeper) and CVE-2026-33496: a verdict for one scope was remembered, and given for another.
#[tokio::test]
async fn r06_what_is_remembered_of_a_caller_or_a_session_counts_in_its_own_scope_only() {
    let api = Api::with(Setup {
        callers: verifier(),
        fed: true,
        cache: Some(memory()),
        ..Setup::default()
    });
    let call = async |scope: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {}", jwt(scope));
        api.call(method, path, &[("authorization", &bearer)], body).await
    };
    let made = call(
        "sessions:write",
        "POST",
        "/v1/sessions",
        r#"{"user_id":"alice","roles":["a"]}"#,
    )
    .await;
    let made = made.expect(201);
    let path = path_of(&made);
    // The reader is remembered as one, over and over, and so is the writer.
    for _ in 0..3 {
        call("sessions:read", "GET", &path, "").await.expect(200);
        call("sessions:read", "PATCH", &path, "{}")
            .await
            .problem(403, "forbidden");
        call("sessions:read", "DELETE", &path, "")
            .await
            .problem(403, "forbidden");
        call("sessions:write", "PATCH", &path, r#"{"data":{"n":1}}"#)
            .await
            .expect(200);
        call("sessions:write", "GET", "/v1/sessions", "")
            .await
            .problem(403, "forbidden");
        call("sessions:admin", "GET", "/v1/sessions", "").await.expect(200);
        call("other:read", "GET", &path, "").await.problem(403, "forbidden");
    }
    // And the session's, by what is asked of it.
    let cookie = cookie(made["token"].as_str().unwrap());
    for (query, status) in [
        ("role=a", 200),
        ("role=b", 403),
        ("role=a", 200),
        ("permission=a", 403),
        ("", 200),
    ] {
        let answer = api
            .call("GET", &format!("/auth?{query}"), &[("cookie", &cookie)], "")
            .await;
        assert_eq!(answer.status.as_u16(), status, "{query}");
        assert!(
            !answer.headers.contains_key("x-auth-cache-for"),
            "nothing is to be reused unless that was set"
        );
    }
}

/// CVE-2019-16782 (rack): the store's index was the secret itself, so that the time of a look-up told of it.
#[tokio::test]
async fn r08_the_store_is_asked_by_a_hash_alone() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, token) = fleet.at(0).create(json!({"user_id": "alice"})).await;
    let id = path.rsplit('/').next().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let expected = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]);
    assert_eq!(id, format!("{}{expected}", &token[..2]));
    let mut monitors = Vec::new();
    for node in cluster.primaries().await {
        monitors.push((node, node.monitor().await));
    }
    // Tokens that share a beginning with the real one lead to keys that share nothing with its key.
    let mut keys = std::collections::BTreeSet::new();
    for shared in [10, 20, 30, 40, 44] {
        let near: String = format!("{}{}", &token[..shared], &unknown_token()[shared..]);
        let Ok(near) = near.parse::<Token>() else { continue };
        fleet.at(1).as_browser("/auth", &near.expose()).await;
        let near_id = near.id().to_string();
        let common = near_id.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
        assert!(near_id == id || common < 2 + 8, "{near_id} and {id}");
        keys.insert(near_id);
    }
    fleet.at(2).as_browser("/auth", &token).await.expect(200);
    let mut asked = 0;
    for (node, monitor) in &monitors {
        for command in monitor.commands(node).await {
            asked += usize::from(
                command
                    .arguments
                    .iter()
                    .any(|argument| keys.iter().any(|key| argument.contains(key))),
            );
            assert!(
                !command
                    .arguments
                    .iter()
                    .any(|argument| argument.contains(&token[2..20])),
                "{command:?}"
            );
        }
    }
    assert!(asked > 0, "nothing was seen of the requests");
    fleet.finish(cluster).await;
}

/// CVE-2023-20866 (Spring Session): the session's secret was written into the log, at the level that operators use.
#[tokio::test]
async fn r09_no_level_of_the_log_has_a_token() {
    for level in ["info", "debug", "trace"] {
        let cluster = shared_cluster().await;
        let fleet = Fleet::start(cluster, &[("log.level", level)]).await;
        let (path, token) = fleet.at(0).create(json!({"user_id": "alice"})).await;
        let (_, rotated) = fleet
            .at(1)
            .call("POST", &format!("{path}/rotate"), json!({}))
            .await
            .expect(201)
            .issued();
        for replica in &fleet.replicas {
            for token in [&token, &rotated] {
                replica.as_browser("/session", token).await.expect(200);
                replica
                    .as_browser(&format!("/{token}?t={token}"), token)
                    .await
                    .expect(404);
                assert!(replica.is_valid(token).await);
                let header = replica
                    .request("GET", "/auth")
                    .header("authorization", format!("Session {token}"));
                Answer::of(header).await.unwrap().expect(200);
            }
        }
        fleet.at(2).delete(&path).await.expect(204);
        for replica in &fleet.replicas {
            replica.program.terminate();
        }
        for replica in &fleet.replicas {
            replica.program.wait_exit(SOON).await;
            for line in replica.program.output() {
                for token in [&token, &rotated] {
                    assert!(!line.contains(&token[2..]), "{level}: {line}");
                }
            }
        }
    }
}

/// CVE-2023-30861 (Flask) and CVE-2026-27205: a proxy kept an answer with a session's cookie, and gave it to the next.
#[tokio::test]
async fn r10_a_caching_proxy_keeps_no_answer() {
    let behind = Behind::nginx().await;
    let client = reqwest::Client::new();
    let (alice, bob) = (behind.log_in("alice").await, behind.log_in("bob").await);
    let ask = async |method: &str, path: &str, token: Option<&str>| {
        let request = client.request(method.parse().unwrap(), format!("http://{}{path}", behind.caching));
        let request = request.header("sec-fetch-site", "same-origin");
        let request = match token {
            Some(token) => request.header("cookie", cookie(token)),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let kept = answer.headers()["x-cache"].to_str().unwrap().to_owned();
        assert_eq!(kept, "MISS", "{method} {path}");
        (
            answer.status().as_u16(),
            answer.headers().clone(),
            answer.text().await.unwrap(),
        )
    };
    for _ in 0..2 {
        for (token, user) in [(&alice, "alice"), (&bob, "bob")] {
            let (_, _, session) = ask("GET", "/session", Some(token)).await;
            assert!(session.contains(&format!("\"user_id\":\"{user}\"")), "{session}");
            let (_, headers, _) = ask("GET", "/auth", Some(token)).await;
            assert_eq!(headers["x-auth-user"], user);
            ask("GET", "/session/csrf", Some(token)).await;
        }
        for path in ["/session", "/auth", "/session/csrf"] {
            assert_eq!(ask("GET", path, None).await.0, 401, "{path}");
        }
    }
    // What sets a cookie.
    let made = client.post(format!("http://{}/v1/sessions", behind.caching));
    for _ in 0..2 {
        let answer = made
            .try_clone()
            .unwrap()
            .json(&json!({"user_id": "carol"}))
            .send()
            .await
            .unwrap();
        assert_ne!(
            answer
                .headers()
                .get("x-cache")
                .map_or("", |value| value.to_str().unwrap()),
            "HIT"
        );
    }
    // The proxy does keep what it may: the test can fail.
    let public = format!("http://{}/.well-known/jwks.json", behind.caching);
    let first = client.get(&public).send().await.unwrap();
    let second = client.get(&public).send().await.unwrap();
    assert_eq!(first.headers()["x-cache"], "MISS");
    assert_eq!(second.headers()["x-cache"], "HIT");
}

/// CVE-2026-40575 and CVE-2026-76835 (oauth2-proxy): a forwarded URI that the client chose let it pass, and the fix did
/// nothing, because by default everybody was a trusted proxy.
#[tokio::test]
async fn r11_no_forwarded_uri_lets_anybody_pass() {
    for settings in [vec![], vec![("http.trusted_proxies", "127.0.0.0/8")]] {
        let cluster = shared_cluster().await;
        let fleet = Fleet::start(cluster, &settings).await;
        let replica = fleet.at(0);
        let (_, token) = replica.create(json!({"user_id": "alice", "roles": ["user"]})).await;
        for (name, value) in [
            ("x-forwarded-uri", "/public/logo.png"),
            ("x-forwarded-uri", "/.well-known/jwks.json"),
            ("x-original-uri", "/livez"),
            ("x-original-url", "/openapi.json"),
            ("x-rewrite-url", "/openapi.json"),
            ("x-forwarded-path", "/"),
            ("x-envoy-original-path", "/"),
            ("x-auth-require", "role=user"),
            ("x-forwarded-method", "OPTIONS"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "localhost"),
        ] {
            for path in ["/auth", "/auth?role=admin", "/ext_authz/admin"] {
                let request = replica.request("GET", path).header(name, value);
                let answer = Answer::of(request).await.unwrap();
                assert_eq!(answer.status, 401, "{settings:?} {path} {name}: {value}");
            }
            let request = replica
                .request("GET", "/auth?role=admin")
                .header(name, value)
                .header("cookie", cookie(&token));
            assert_eq!(
                Answer::of(request).await.unwrap().status,
                403,
                "{settings:?} {name}: {value}"
            );
        }
        fleet.finish(cluster).await;
    }
}

/// CVE-2015-5143 and CVE-2015-5963 (Django): each unknown id, and each log-out, made an empty session in the store.
#[tokio::test]
async fn r12_visitors_without_a_session_fill_no_store() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    fleet.know_each_other().await;
    let keys = async || cluster.keys(&format!("{}:*", fleet.prefix)).await;
    let before = keys().await;
    fleet
        .crowd(600, async |replica, number| {
            let (method, path) = [
                ("GET", "/session"),
                ("GET", "/auth"),
                ("DELETE", "/session"),
                ("GET", "/session/csrf"),
            ][number % 4];
            let request = replica.request(method, path).header("sec-fetch-site", "same-origin");
            let request = match number % 3 {
                0 => request.header("cookie", cookie(&unknown_token())),
                1 => request.header("cookie", cookie("nonsense")),
                _ => request,
            };
            let answer = Answer::of(request).await.unwrap();
            let is_cleared = answer.header("set-cookie").starts_with("__Host-cloakroom=;");
            assert!(
                is_cleared || !answer.headers.contains_key("set-cookie"),
                "{}",
                answer.header("set-cookie")
            );
        })
        .await;
    assert_eq!(keys().await, before);
    fleet.finish(cluster).await;
}
