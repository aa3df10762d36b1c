//! The procedures of docs/key-rotation.md, by two built servers and their files, while visitors and callers go on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cloakroom::session::{Clock as _, SigningKeys, SystemClock};
use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::ports::free_address;
use super::support::process::{Program, field};
use super::support::server::{Acl, RedisServer, ServerOptions};
use super::support::tls::TlsMaterial;
use super::support::wait::{SOON, eventually};
use super::traffic::{Baggage, Caller, Traffic};

/// Two servers of one deployment, whose secrets are in files.
struct Service {
    directory: TempDir,
    redis: RedisServer,
    /// Each with where its metrics are.
    servers: Vec<(Program, SocketAddr)>,
}

impl Service {
    /// Starts them with settings whose values are the contents of files: `<key>` is read from the file of that name.
    async fn start(secrets: &[(&str, &str)], authorities: &[&TlsMaterial], plain: &[(&str, &str)]) -> (Self, Caller) {
        let directory = TempDir::new().unwrap();
        for (key, text) in secrets {
            std::fs::write(directory.path().join(key), text).unwrap();
        }
        let address = free_address();
        let options = ServerOptions {
            acl: Some(Acl::all_rights("app", "first")),
            ..ServerOptions::default()
        };
        let redis = RedisServer::start(options, address, address).await;
        let mut settings = vec![
            format!("redis.urls=redis://{address}"),
            "redis.username=app".to_owned(),
            "log.format=json".to_owned(),
        ];
        settings.extend(plain.iter().map(|(key, value)| format!("{key}={value}")));
        for (key, _) in secrets {
            settings.push(format!("{key}={}", directory.path().join(key).display()));
        }
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        for setting in &settings {
            arguments.extend(["--set", setting]);
        }
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        for name in ["server-0", "server-1"] {
            let program = Program::cloakroom(&arguments, &[("CLOAKROOM_SERVER_ID", name)]);
            let (traffic, admin) = (program.listener("traffic").await, program.listener("admin").await);
            eventually(SOON, "readiness", async || {
                let answer = reqwest::get(format!("http://{admin}/readyz")).await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
            addresses.push(traffic);
            servers.push((program, admin));
        }
        let mut client = Client::builder();
        let certificates: Vec<_> = authorities
            .iter()
            .map(|material| Certificate::from_pem(material.ca.as_bytes()).unwrap())
            .collect();
        let scheme = if certificates.is_empty() { "http" } else { "https" };
        if !certificates.is_empty() {
            client = client.tls_certs_only(certificates);
        }
        let caller = Caller {
            client: client.build().unwrap(),
            servers: addresses
                .iter()
                .map(|address| format!("{scheme}://localhost:{}", address.port()))
                .collect(),
        };
        let service = Self {
            directory,
            redis,
            servers,
        };
        (service, caller)
    }

    /// No server met a record that it could not open.
    async fn assert_all_could_be_opened(&self) {
        for (_, admin) in &self.servers {
            let page = reqwest::get(format!("http://{admin}/metrics"))
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            assert!(
                page.contains("\ncloakroom_store_corrupt_records_total 0\n"),
                "at {admin}"
            );
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.directory.path().join(key)
    }

    /// Changes files, and waits until every server has taken them over.
    async fn change(&self, files: &[(&str, String)]) {
        let taken = |program: &Program, key: &str| {
            let lines = program.log();
            let about = |line: &&Value| {
                field(line, "message") == Some("took over a changed file") && line.to_string().contains(key)
            };
            lines.iter().filter(about).count()
        };
        let before: Vec<Vec<usize>> = self
            .servers
            .iter()
            .map(|(program, _)| files.iter().map(|(key, _)| taken(program, key)).collect())
            .collect();
        for (key, text) in files {
            // As a mounted secret changes: all at once.
            let temporary = self.file("temporary");
            std::fs::write(&temporary, text).unwrap();
            std::fs::rename(&temporary, self.file(key)).unwrap();
        }
        for ((program, _), before) in self.servers.iter().zip(before) {
            for ((key, _), before) in files.iter().zip(before) {
                let what = format!("{key} to be taken over");
                eventually(SOON, &what, async || taken(program, key) > before).await;
            }
        }
    }
}

fn claims() -> Value {
    let now = SystemClock.now().as_millis() / 1_000;
    json!({"aud": "cloakroom", "exp": now + 3_600, "scope": "sessions:admin"})
}

fn bearer(secret: &str) -> String {
    encode(
        &Header::default(),
        &claims(),
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn pair(issued: &Value) -> String {
    let line = issued["set_cookie"].as_str().unwrap();
    line.split(';').next().unwrap().to_owned()
}

/// A secret of a word.
fn secret(word: &str) -> String {
    format!("{word:-<32}")
}

fn ring(words: &[&str]) -> String {
    words.iter().map(|word| secret(word)).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_rings_of_keys_are_rotated_by_file_and_nobody_is_logged_out() {
    const RINGS: [&str; 3] = ["cookie.secrets_file", "encryption.keys_file", "jwt.secret_file"];
    let pems = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap().serialize_pem());
    let old = ring(&["old"]);
    let secrets = [
        (RINGS[0], old.as_str()),
        (RINGS[1], &old),
        (RINGS[2], &old),
        ("token.keys_file", &pems[0]),
    ];
    let plain = [("redis.password", "first"), ("encryption.plain", "refuse")];
    let (service, caller) = Service::start(&secrets, &[], &plain).await;
    let by_old = bearer(&secret("old"));
    let (status, issued) = caller
        .call(
            0,
            "/v1/sessions",
            &by_old,
            &json!({"user_id": "alice", "data": {"n": 1}}),
        )
        .await;
    assert_eq!(status, 201, "{issued}");
    let (id, before) = (issued["session"]["id"].as_str().unwrap(), pair(&issued));
    let baggage = Arc::new(Baggage::default());
    baggage.cookies.lock().push(before.clone());
    baggage.bearers.lock().push(by_old.clone());
    let traffic = Traffic::begin(caller.clone(), Arc::clone(&baggage));
    let step = async |words: &[&str], pem: String| {
        let mut files: Vec<_> = RINGS.iter().map(|key| (*key, ring(words))).collect();
        files.push(("token.keys_file", pem));
        service.change(&files).await;
    };

    // 1. Every server learns the new keys.
    step(&["old", "new"], format!("{}{}", pems[0], pems[1])).await;
    assert_eq!(caller.published(0).await, 2);
    let by_new = bearer(&secret("new"));
    baggage.bearers.lock().push(by_new.clone());
    // 2. They are used.
    step(&["new", "old"], format!("{}{}", pems[1], pems[0])).await;
    let (status, rotated) = caller
        .call(1, &format!("/v1/sessions/{id}/rotate"), &by_new, &json!({}))
        .await;
    assert_eq!(status, 201, "{rotated}");
    let after = pair(&rotated);
    assert_eq!(caller.open_page(0, &after).await, 200);
    // 3. What the old keys made is no longer about: they go.
    *baggage.cookies.lock() = vec![after.clone()];
    *baggage.bearers.lock() = vec![by_new.clone()];
    step(&["new"], pems[1].clone()).await;
    traffic.end().await;
    service.assert_all_could_be_opened().await;
    for server in 0..2 {
        assert_eq!(caller.open_page(server, &after).await, 200);
        assert_eq!(
            caller.open_page(server, &before).await,
            401,
            "the old cookie secret is gone"
        );
        assert_eq!(
            caller.call(server, "/v1/sessions", &by_old, &json!({})).await.0,
            401,
            "the old JWT secret too"
        );
        assert_eq!(caller.published(server).await, 1);
    }
    // The session is sealed under the new key, whoever reads it now.
    let path = format!(
        "/v1/sessions/{}/data/n/increment",
        rotated["session"]["id"].as_str().unwrap()
    );
    assert_eq!(
        caller.call(1, &path, &by_new, &json!({})).await,
        (200, json!({"value": 2}))
    );
    let made = service.redis.keys("cloakroom:*:s:*").await.len();
    assert!(made > 20, "the traffic went to this redis: {made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_the_redis_password_the_certificate_and_the_issuers_keys_are_rotated_by_file() {
    let (first, second) = (TlsMaterial::generate(), TlsMaterial::generate());
    let issuers = ["a", "b"].map(|word| SigningKeys::derived([secret(word).as_bytes()]));
    let set = |of: &[&SigningKeys]| {
        let keys: Vec<Value> = of
            .iter()
            .flat_map(|keys| keys.published()["keys"].as_array().unwrap().clone())
            .collect();
        json!({ "keys": keys }).to_string()
    };
    let published = set(&[&issuers[0]]);
    let secrets = [
        ("redis.password_file", "first"),
        ("tls.cert_file", first.certificate.as_str()),
        ("tls.key_file", &first.key),
        ("jwt.jwks_file", &published),
    ];
    let (service, caller) = Service::start(&secrets, &[&first, &second], &[]).await;
    let [by_a, by_b] = [&issuers[0], &issuers[1]].map(|keys| keys.sign(&claims()).unwrap());
    let (status, issued) = caller
        .call(0, "/v1/sessions", &by_a, &json!({"user_id": "alice"}))
        .await;
    assert_eq!(status, 201, "{issued}");
    let cookie = pair(&issued);
    let baggage = Arc::new(Baggage::default());
    baggage.cookies.lock().push(cookie.clone());
    baggage.bearers.lock().push(by_a.clone());
    let traffic = Traffic::begin(caller.clone(), Arc::clone(&baggage));

    // The issuer's keys: the new one is published, signs, and is left alone.
    let knows = async |bearer: &str, status: u16| {
        for server in 0..2 {
            eventually(SOON, "the issuer's keys to be taken over", async || {
                caller.call(server, "/v1/sessions", bearer, &json!({})).await.0 == status
            })
            .await;
        }
    };
    std::fs::write(service.file("jwt.jwks_file"), set(&[&issuers[0], &issuers[1]])).unwrap();
    knows(&by_b, 201).await;
    *baggage.bearers.lock() = vec![by_b.clone()];
    std::fs::write(service.file("jwt.jwks_file"), set(&[&issuers[1]])).unwrap();
    knows(&by_a, 401).await;

    // The password: Redis knows both, the servers change over, Redis forgets the first.
    service.redis.command(&["ACL", "SETUSER", "app", ">second"]).await;
    service.change(&[("redis.password_file", "second".to_owned())]).await;
    service.redis.command(&["ACL", "SETUSER", "app", "<first"]).await;

    // The certificate: both files are replaced; connections that stand go on.
    std::fs::write(service.file("tls.key_file"), &second.key).unwrap();
    std::fs::write(service.file("tls.cert_file"), &second.certificate).unwrap();
    let authority = Certificate::from_pem(second.ca.as_bytes()).unwrap();
    for server in 0..2 {
        let url = format!("{}/session", caller.servers[server]);
        eventually(SOON, "the new certificate", async || {
            let fresh = Client::builder().tls_certs_only([authority.clone()]).build().unwrap();
            let answer = fresh.get(&url).header("cookie", &cookie).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }
    traffic.end().await;

    // Nobody is left who came in by the first password: whoever must connect anew gets in by the second.
    service
        .redis
        .try_command(&["CLIENT", "KILL", "USER", "app"])
        .await
        .unwrap();
    for server in 0..2 {
        eventually(SOON, "the servers to come in by the second password", async || {
            caller.call(server, "/v1/sessions", &by_b, &json!({})).await.0 == 201
        })
        .await;
    }
}
