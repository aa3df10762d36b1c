//! A real nginx with `auth_request` in front of an application.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// The part of the configuration that the guide shows: everything but addresses and scratch files.
const CONFIGURATION: &str = include_str!("nginx.conf");

/// An nginx, an application that says what it was told, and the service.
struct Gateway {
    address: SocketAddr,
    service: SocketAddr,
    client: reqwest::Client,
    _programs: [Program; 2],
    _directory: TempDir,
}

fn nginx() -> PathBuf {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&places).collect();
    places.push("/usr/sbin".into());
    let found = places
        .into_iter()
        .map(|place| place.join("nginx"))
        .find(|path| path.is_file());
    found.expect("nginx is missing: install the Debian package nginx-light, or run tests/run")
}

async fn application() -> SocketAddr {
    let told = async |headers: HeaderMap| {
        let all = |name: &str| {
            let values = headers.get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        axum::Json(json!({"user": all("x-auth-user"), "underscore": all("x_auth_user"), "roles": all("x-auth-roles")}))
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, Router::new().fallback(told)).await });
    address
}

impl Gateway {
    async fn start() -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let trusting = [("CLOAKROOM_HTTP__TRUSTED_PROXIES", "127.0.0.1/32")];
        let server = Program::cloakroom(&arguments, &trusting);
        let service = super::serving(&server).await;
        let application = application().await;
        let directory = tempfile::tempdir().unwrap();
        let text = CONFIGURATION
            .replace("{directory}", directory.path().to_str().unwrap())
            .replace("{cloakroom}", &service.to_string())
            .replace("{application}", &application.to_string());
        let port = free_port();
        let text = text.replace("{listen}", &port.to_string());
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let nginx = start_nginx(&file, directory.path());
        let (address, client) = (port, reqwest::Client::new());
        eventually(SOON, "nginx", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self {
            address,
            service,
            client,
            _programs: [server, nginx],
            _directory: directory,
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, reqwest::header::HeaderMap, String) {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    async fn log_in(&self, user: &str) -> Value {
        let made = self.client.post(format!("http://{}/v1/sessions", self.service));
        let made = made.json(&json!({"user_id": user, "roles": ["user"]}));
        made.send().await.unwrap().json().await.unwrap()
    }
}

fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn start_nginx(file: &Path, directory: &Path) -> Program {
    let arguments = [
        "-c",
        file.to_str().unwrap(),
        "-p",
        directory.to_str().unwrap(),
        "-e",
        "stderr",
    ];
    Program::start(&nginx(), &arguments, &[])
}

fn cookie(made: &Value) -> String {
    format!("__Host-cloakroom={}", made["token"].as_str().unwrap())
}

#[tokio::test]
async fn s44_nginx_lets_pass_who_has_a_session_and_says_who_it_is() {
    let gateway = Gateway::start().await;
    let (status, headers, _) = gateway.ask("GET", "/cart", &[]).await;
    assert_eq!(
        (status, headers["x-auth-reason"].to_str().unwrap()),
        (401, "session_not_found")
    );
    let alice = gateway.log_in("alice").await;
    let cookie = cookie(&alice);
    let spoofed = [
        ("cookie", cookie.as_str()),
        ("x-auth-user", "root"),
        ("x_auth_user", "root"),
        ("x-auth-roles", "root"),
    ];
    let (status, _, body) = gateway.ask("GET", "/cart", &spoofed).await;
    let told: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"));
    assert_eq!(told, json!({"user": ["alice"], "underscore": [], "roles": ["user"]}));
    let (status, ..) = gateway.ask("GET", "/admin/users", &spoofed).await;
    assert_eq!(status, 403, "the role is missing");
    for path in [
        "/admin/../admin/users",
        "//admin//users",
        "/%61dmin/users",
        "/admin/users?role=user",
    ] {
        let (status, ..) = gateway.ask("GET", path, &spoofed).await;
        assert_eq!(status, 403, "{path}");
    }
}

#[tokio::test]
async fn s36_nginx_refuses_what_another_site_sends() {
    let gateway = Gateway::start().await;
    let alice = gateway.log_in("alice").await;
    let cookie = cookie(&alice);
    let host = format!("http://{}", gateway.address);
    let post = async |headers: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())][..], headers].concat();
        gateway.ask("POST", "/cart", &headers).await.0
    };
    assert_eq!(post(&[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(post(&[("origin", "https://evil.example")]).await, 403);
    assert_eq!(post(&[]).await, 403);
    assert_eq!(
        post(&[("x-forwarded-method", "GET"), ("x-original-method", "GET")]).await,
        403
    );
    assert_eq!(
        post(&[("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")]).await,
        403
    );
    assert_eq!(post(&[("sec-fetch-site", "same-origin")]).await, 200);
    assert_eq!(post(&[("origin", &host)]).await, 200);
    assert_eq!(
        post(&[("x-csrf-token", alice["csrf_token"].as_str().unwrap())]).await,
        200
    );
}

#[tokio::test]
async fn s20_a_log_out_holds_behind_nginx() {
    let gateway = Gateway::start().await;
    let alice = gateway.log_in("alice").await;
    let cookie = cookie(&alice);
    assert_eq!(gateway.ask("GET", "/cart", &[("cookie", &cookie)]).await.0, 200);
    // The endpoints for browsers lie behind the same gateway.
    let leave = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
    let (status, headers, _) = gateway.ask("DELETE", "/session", &leave).await;
    assert_eq!(status, 204);
    assert!(headers["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"));
    assert_eq!(gateway.ask("GET", "/cart", &[("cookie", &cookie)]).await.0, 401);
}
