//! S43 to S47: what proxies say, and what clients say in their name.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use cloakroom::config::{Config, Sources};
use cloakroom::http::HttpSettings;
use serde_json::json;

use crate::cookie;
use crate::support::api::{Answer, Api, Setup};

#[test]
fn s43_nobody_is_trusted_by_default() {
    let defaults = Config::load(&Sources::default()).unwrap().config;
    assert!(defaults.http.trusted_proxies.is_empty());
    assert!(HttpSettings::default().trusted_proxies.is_empty());
    // Nor by what we ship: a default that trusts everybody would make the setting inert.
    let mut shipped = Vec::new();
    for top in ["helm", "k8s"] {
        yaml_below(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(top),
            &mut shipped,
        );
    }
    assert!(!shipped.is_empty(), "no chart and no manifest");
    for path in shipped {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines.filter(|line| line.replace(['_', '-'], "").contains("trustedproxies")) {
            let value = line.split_once([':', '=']).map_or("", |(_, value)| value.trim());
            assert!(matches!(value, "" | "[]" | "\"\"" | "''"), "{}: {line}", path.display());
        }
    }
}

/// The YAML files of a directory, but for the values that tests install with.
fn yaml_below(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "ci") {
            yaml_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

async fn from(api: &Api, peer: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer: SocketAddr = peer.parse().unwrap();
    api.send(request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap())
        .await
}

/// Every header by which a proxy might say what was asked, and by whom.
const CLAIMS: [(&str, &str); 18] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-real-ip", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1;proto=https;host=shop.example"),
    ("x-forwarded-host", "shop.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-method", "GET"),
    ("x-forwarded-uri", "/public/logo.png"),
    ("x-forwarded-prefix", "/public"),
    ("x-original-uri", "/public/logo.png"),
    ("x-original-url", "/public/logo.png"),
    ("x-rewrite-url", "/public/logo.png"),
    ("x-auth-user", "admin"),
    ("x_auth_user", "admin"),
    ("x-auth-roles", "admin"),
    ("x-auth-request-user", "admin"),
    ("remote-user", "admin"),
    ("x-auth-session", "aaAAAAAAAAAAAAAAAAAAAAAA"),
    ("user-agent", "kube-probe/1.33"),
];

#[tokio::test]
async fn s44_an_inbound_identity_is_never_taken_over() {
    let api = Api::with(Setup {
        settings: HttpSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..HttpSettings::default()
        },
        ..Setup::default()
    });
    let made = api.create(json!({"user_id": "alice", "roles": ["user"]})).await;
    let nobody = api.create(json!({})).await;
    for (made, user, roles) in [(&made, "alice", "user"), (&nobody, "", "")] {
        let cookie = cookie(made["token"].as_str().unwrap());
        let headers = [&CLAIMS[..], &[("cookie", cookie.as_str())]].concat();
        for peer in ["10.0.0.1:9", "192.0.2.1:9"] {
            for path in ["/auth", "/ext_authz/admin"] {
                let answer = from(&api, peer, "GET", path, &headers).await;
                answer.expect_empty(200);
                for (name, value) in [
                    ("x-auth-user", user),
                    ("x-auth-roles", roles),
                    ("x-auth-permissions", ""),
                ] {
                    let all: Vec<_> = answer.headers.get_all(name).iter().collect();
                    assert_eq!(all, [value], "{path}: {name} overwrites what came in, if empty");
                }
                assert!(!answer.headers.contains_key("x_auth_user"));
            }
            from(&api, peer, "GET", "/auth?role=admin", &headers)
                .await
                .problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn s45_no_path_query_header_or_agent_lets_anybody_pass() {
    let api = Api::with(Setup {
        settings: HttpSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..HttpSettings::default()
        },
        ..Setup::default()
    });
    for peer in ["10.0.0.1:9", "127.0.0.1:9", "[::1]:9", "192.0.2.1:9"] {
        for path in [
            "/auth",
            "/auth?",
            "/auth?role=",
            "/auth?csrf=0",
            "/auth?max_age=18446744073709551615",
            "/auth/",
            "/auth/../auth",
            "/auth;x",
            "/auth%00",
            "/auth%2f",
            "//auth",
            "/AUTH",
            "/auth?x=/public",
            "/auth#public",
            "/ext_authz/",
            "/ext_authz/public",
            "/ext_authz/../livez",
            "/ext_authz/.well-known/jwks.json",
            "/ext_authz/openapi.json",
            "/session",
            "/session?x",
        ] {
            for method in ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PROPFIND", "CONNECT"] {
                let Ok(uri) = path.parse::<axum::http::Uri>() else {
                    continue;
                };
                let answer = from(&api, peer, method, &uri.to_string(), &CLAIMS).await;
                assert!(
                    answer.status.is_client_error(),
                    "{peer} {method} {path}: {}",
                    answer.status
                );
                assert!(!answer.headers.contains_key("x-auth-user"), "{peer} {method} {path}");
            }
        }
    }
    // The faces that need no credential tell nothing of any session.
    for public in ["/openapi.json", "/.well-known/jwks.json"] {
        let answer = from(&api, "192.0.2.1:9", "GET", public, &CLAIMS).await;
        assert!(!answer.headers.contains_key("x-auth-user"), "{public}");
    }
}

#[tokio::test]
async fn s47_no_answer_sends_anywhere_but_to_the_list() {
    let api = Api::with(Setup {
        settings: HttpSettings {
            return_urls: vec!["https://login.example/in".to_owned()],
            ..HttpSettings::default()
        },
        ..Setup::default()
    });
    let navigates = [("sec-fetch-mode", "navigate"), ("cookie", "a=b")];
    for evil in [
        "https://login.example/in/",
        "https://login.example/IN",
        "https://login.example/%69n",
        "https://login.example:444/in",
        "https://login.example./in",
        "https:login.example/in",
        "https:\\\\evil.example/in",
        "https://login.example\\@evil.example/in",
        "https://login.example%00.evil.example/in",
        "https://login.example%2eevil.example/in",
        "https://evil.example/?https://login.example/in",
        "https://evil.example%23@login.example/in",
        "http://login.example/in",
        "data:text/html,x",
        "//evil.example",
        "/\\evil.example",
        "https://login.example/in%0d%0aSet-Cookie:a=b%00",
        "https://login.example/x/%2e%2e/in/%2e%2e",
    ] {
        let evil = evil.replace('#', "%23").replace('&', "%26").replace(' ', "%20");
        for path in [
            format!("/auth?sign_in={evil}"),
            format!("/auth?sign_in={}", evil.replace('%', "%25")),
        ] {
            let Ok(uri) = path.parse::<axum::http::Uri>() else {
                continue;
            };
            let answer = api.call("GET", &uri.to_string(), &navigates, "").await;
            if let Some(location) = answer.headers.get("location") {
                let location = location.to_str().unwrap();
                assert!(
                    location == "https://login.example/in" || location.starts_with("https://login.example/in?"),
                    "{path}: {location}"
                );
            }
            assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        }
    }
}
