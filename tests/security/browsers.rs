//! S36 to S42: what pages, of our own site and of others, can have a browser do.

use serde_json::json;

use crate::cookie;
use crate::support::api::{Api, Setup, path_of};
use crate::support::fleet::Fleet;
use crate::support::redis_cluster::shared_cluster;

const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

#[tokio::test]
async fn s36_s39_no_method_override_makes_a_safe_method_unsafe() {
    let api = Api::new();
    let (path, token) = api.alice().await;
    let cookie = cookie(&token);
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            let headers = [
                ("cookie", cookie.as_str()),
                (name, "DELETE"),
                ("sec-fetch-site", "same-origin"),
            ];
            api.call(method, "/session", &headers, "").await;
            api.call(method, "/session?_method=DELETE", &headers, "_method=DELETE")
                .await;
        }
    }
    api.get(&path).await.expect(200);
}

#[tokio::test]
async fn s37_the_csrf_token_proves_one_session_and_no_other() {
    let api = Api::new();
    let [alice, mallory] = [
        api.create(json!({"user_id": "alice"})).await,
        api.create(json!({"user_id": "mallory"})).await,
    ];
    let delete = async |csrf: &str| {
        let cookie = cookie(alice["token"].as_str().unwrap());
        let headers = [("cookie", cookie.as_str()), CROSS_SITE, ("x-csrf-token", csrf)];
        api.call("DELETE", "/session/others", &headers, "").await
    };
    let own = alice["csrf_token"].as_str().unwrap();
    for foreign in [
        mallory["csrf_token"].as_str().unwrap(),
        alice["token"].as_str().unwrap(),
        alice["session"]["id"].as_str().unwrap(),
        "",
        "null",
        &own.to_lowercase(),
        &own[..own.len() - 1],
    ] {
        delete(foreign).await.problem(403, "csrf_mismatch");
    }
    delete(own).await.expect(200);
}

/// The naive double submit takes whatever stands in a cookie and a header alike: whoever can set a cookie (a sister
/// domain, plain HTTP) passes it.
#[tokio::test]
async fn s38_no_pair_of_cookie_and_header_stands_in_for_the_token() {
    let api = Api::new();
    let (path, token) = api.alice().await;
    for name in [
        "csrf",
        "csrf_token",
        "XSRF-TOKEN",
        "_csrf",
        "__Host-csrf",
        "X-CSRF-Token",
    ] {
        for header in ["x-csrf-token", "x-xsrf-token", "csrf-token"] {
            let cookies = format!("{name}=chosen; {}", cookie(&token));
            let headers = [("cookie", cookies.as_str()), CROSS_SITE, (header, "chosen")];
            for call in ["/session", "/session/others"] {
                api.call("DELETE", call, &headers, "")
                    .await
                    .problem(403, "csrf_mismatch");
            }
            let asked = [&headers[..], &[("x-forwarded-method", "POST")]].concat();
            api.call("GET", "/auth?csrf=1", &asked, "")
                .await
                .problem(403, "csrf_mismatch");
        }
    }
    api.get(&path).await.expect(200);
}

/// A read may note the use of a session (`touch`), and nothing else.
#[tokio::test]
async fn s39_get_and_head_write_nothing_but_the_touch() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, token) = fleet.at(0).create(json!({"user_id": "alice", "data": {"n": 1}})).await;
    let id = path.rsplit('/').next().unwrap();
    let before = fleet.at(0).get(&format!("{path}?consistency=strong")).await.json();
    let mut monitors = Vec::new();
    for node in cluster.primaries().await {
        monitors.push((node, node.monitor().await));
    }
    let calls = ["", "?consistency=strong", "/data/n", "/cart", "/activity"].map(|call| format!("{path}{call}"));
    for replica in &fleet.replicas {
        for method in ["GET", "HEAD"] {
            for call in ["/auth", "/session", "/session/csrf", "/session/all", "/ext_authz/x"] {
                let request = replica.request(method, call).header("cookie", cookie(&token));
                assert_eq!(request.send().await.unwrap().status(), 200, "{method} {call}");
            }
            for call in calls
                .iter()
                .map(String::as_str)
                .chain(["/v1/users/alice/sessions", "/v1/sessions"])
            {
                let request = replica
                    .request(method, call)
                    .header("authorization", &replica.credential);
                assert_eq!(request.send().await.unwrap().status(), 200, "{method} {call}");
            }
        }
    }
    let writing = [
        "HSET", "HDEL", "DEL", "ZADD", "ZREM", "SPUBLISH", "XADD", "SET", "RENAME", "LPUSH",
    ];
    let mut asked = 0;
    for (node, monitor) in &monitors {
        for command in monitor.commands(node).await {
            if command.arguments.iter().any(|argument| argument.contains(id)) {
                asked += 1;
                assert!(!writing.contains(&command.name.as_str()), "{command:?}");
            }
        }
    }
    assert!(asked > 0, "nothing was seen of the requests");
    let after = fleet.at(1).get(&format!("{path}?consistency=strong")).await.json();
    assert_eq!(after, before);
    fleet.finish(cluster).await;
}

/// What a form of another site can send: three types, no custom header, no JWT.
#[tokio::test]
async fn s40_no_form_of_another_site_makes_a_session() {
    let open = Api::new();
    let guarded = Api::with(Setup {
        callers: crate::operations::verifier(),
        ..Setup::default()
    });
    let json = r#"{"user_id":"mallory"}"#;
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "user_id=mallory"),
        ("text/plain", json),
        ("multipart/form-data; boundary=x", "--x\r\n\r\n{}\r\n--x--"),
        ("text/plain;charset=utf-8", "{\"user_id\":\"mallory\",\"x=\":\"\"}"),
    ] {
        let headers = [("content-type", kind), CROSS_SITE, ("origin", "https://evil.example")];
        for (api, status) in [(&open, 400), (&guarded, 401)] {
            let answer = api.call("POST", "/v1/sessions", &headers, body).await;
            assert_eq!(answer.status.as_u16(), status, "{kind}: {}", answer.body);
            assert!(!answer.headers.contains_key("set-cookie"));
            // Browsers' own paths make none at all.
            for path in ["/session", "/session/csrf", "/session/all", "/auth", "/"] {
                let answer = api.call("POST", path, &headers, body).await;
                assert!(
                    matches!(answer.status.as_u16(), 401 | 404 | 405),
                    "{path}: {}",
                    answer.body
                );
                assert!(!answer.headers.contains_key("set-cookie"), "{path}");
            }
        }
    }
    let listed = open.get("/v1/sessions").await.expect(200);
    assert_eq!(listed["sessions"], json!([]));
    let (path, _) = open.alice().await;
    assert!(path_of(&open.create(json!({})).await) != path);
}
