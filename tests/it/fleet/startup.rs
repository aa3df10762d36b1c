//! How a replica starts: with Redis down, with passwords that change, by TLS, with keys of an issuer, and how fast.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{rsa, signature};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Answer, Fleet, Replica, SECRET, claims};
use crate::support::ports::free_address;
use crate::support::redis_cluster::shared_cluster;
use crate::support::server::{Acl, RedisServer, ServerOptions};
use crate::support::tls::TlsMaterial;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

const START_LIMIT: Duration = Duration::from_secs(1);
/// Of the program as tests build it, whose code is several times as large as the optimised one's.
const IDLE_LIMIT: u64 = 40 * 1024 * 1024;

#[tokio::test]
async fn a_replica_waits_for_redis_and_follows_its_password() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "first").unwrap();
    let address = free_address();
    let url = format!("redis://{address}");
    let settings = [
        ("redis.urls", url.as_str()),
        ("redis.username", "app"),
        ("redis.password_file", file.to_str().unwrap()),
        ("jwt.secret", SECRET),
        ("log.format", "json"),
    ];
    let replica = Replica::start("replica-0", "127.0.0.1", &settings);
    replica.program.listener("admin").await;
    let live = reqwest::get(format!("http://{}/livez", replica.admin)).await.unwrap();
    assert_eq!(live.status(), 200);
    assert_eq!(replica.readiness().await, Some(503));
    replica.get("/v1/stats").await.unavailable();
    replica.as_browser("/auth", "aaaa").await.unavailable();
    replica.as_browser("/session", "aaaa").await.unavailable();
    replica.program.logged("fails, and is tried again").await;

    let options = ServerOptions {
        acl: Some(Acl::all_rights("app", "first")),
        ..ServerOptions::default()
    };
    let redis = RedisServer::start(options, address, address).await;
    replica.until_ready().await;
    let (path, _) = replica.create(json!({})).await;
    let told = replica.program.output();
    let about_opening: Vec<_> = told.iter().filter(|line| line.contains("open the store")).collect();
    assert_eq!(about_opening.len(), 2, "{about_opening:#?}");

    // The password is changed at both ends, and whoever came in by the old one is thrown out.
    std::fs::write(&file, "second\n").unwrap();
    redis.command(&["ACL", "SETUSER", "app", "resetpass", ">second"]).await;
    redis.try_command(&["CLIENT", "KILL", "USER", "app"]).await.unwrap();
    replica.program.logged("took over a changed file").await;
    eventually(SOON, "the new password to be used", async || {
        let answer = replica.get(&format!("{path}?consistency=strong")).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
        answer.status == 200
    })
    .await;
    let output = replica.program.output();
    assert!(!output.iter().any(|line| line.contains("\"second\"")));
    assert_eq!(replica.program.stop(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn a_replica_that_waits_for_redis_can_be_stopped_and_bad_settings_end_it() {
    let url = format!("redis://{}", free_address());
    let settings = [("redis.urls", url.as_str()), ("jwt.secret", SECRET)];
    let replica = Replica::start("replica-0", "127.0.0.1", &settings);
    replica.program.logged("fails, and is tried again").await;
    assert_eq!(replica.program.stop(SOON).await.code(), Some(0));

    let secure = url.replace("redis://", "rediss://");
    let settings = [
        ("redis.urls", secure.as_str()),
        ("redis.ca_file", "/no/ca.pem"),
        ("jwt.secret", SECRET),
    ];
    let replica = Replica::start("replica-0", "127.0.0.1", &settings);
    assert_eq!(replica.program.wait_exit(SOON).await.code(), Some(1));
    let output = replica.program.output().join("\n");
    assert!(output.contains("redis.ca_file /no/ca.pem"), "{output}");
}

#[tokio::test]
async fn another_layout_ends_a_replica() {
    let cluster = shared_cluster().await;
    let prefix = unique_prefix();
    let key = format!("{prefix}:meta");
    let node = cluster.primary_of_key(&key).await;
    node.command(&["HSET", &key, "layout", "99", "buckets", "512", "bucket_key", "x"])
        .await;
    let urls = cluster.urls().join(",");
    let settings = [
        ("redis.urls", urls.as_str()),
        ("redis.prefix", &prefix),
        ("jwt.secret", SECRET),
    ];
    let replica = Replica::start("replica-0", "127.0.0.1", &settings);
    assert_eq!(replica.program.wait_exit(SOON).await.code(), Some(1));
    let output = replica.program.output().join("\n");
    assert!(output.contains("its layout is 99, this version's is 1"), "{output}");
    node.command(&["DEL", &key]).await;
}

#[tokio::test]
async fn a_replica_is_ready_within_a_second_and_small_while_idle() {
    let cluster = shared_cluster().await;
    let mut fleet = Fleet::start(cluster, &[]).await;
    let mut quickest = Duration::MAX;
    for replica in &mut fleet.replicas {
        assert_eq!(replica.program.stop(SOON).await.code(), Some(0));
        let started = Instant::now();
        replica.restart().await;
        quickest = quickest.min(started.elapsed());
    }
    // Other tests have the machine too: what one of three does is what it can do.
    assert!(quickest <= START_LIMIT, "{quickest:?}");
    for replica in &fleet.replicas {
        let bytes = replica.program.rss_bytes();
        assert!(bytes <= IDLE_LIMIT, "{} KiB", bytes / 1024);
        eprintln!("ready in {quickest:?}, {} KiB", bytes / 1024);
    }
    fleet.finish(cluster).await;
}

/// A key of an issuer: what signs, and what is published.
struct IssuerKey {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

impl IssuerKey {
    fn new(algorithm: Algorithm) -> Self {
        let jwk = |private: &EncodingKey| {
            let public = Jwk::from_encoding_key(private, algorithm).unwrap();
            serde_json::to_value(public).unwrap()
        };
        let (private, mut public) = match algorithm {
            Algorithm::RS256 => {
                let der = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der = STANDARD.encode(AsDer::<Pkcs8V1Der<'_>>::as_der(&der).unwrap().as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
                let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
                let public = jwk(&private);
                (private, public)
            }
            Algorithm::ES256 => {
                let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = signature::EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
                let private = EncodingKey::from_ec_der(der.as_ref());
                let public = jwk(&private);
                (private, public)
            }
            _ => {
                let der = signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
                let pair = signature::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (EncodingKey::from_ed_der(der.as_ref()), public)
            }
        };
        public["kid"] = json!(format!("{algorithm:?}"));
        Self {
            algorithm,
            private,
            public,
        }
    }
}

/// The set of public keys, as an issuer publishes it.
fn publish(keys: &[IssuerKey], file: &Path) {
    let keys: Vec<_> = keys.iter().map(|key| &key.public).collect();
    std::fs::write(file, json!({ "keys": keys }).to_string()).unwrap();
}

#[tokio::test]
async fn callers_come_by_tls_with_the_keys_of_an_issuer() {
    let cluster = shared_cluster().await;
    let directory = TempDir::new().unwrap();
    let material = TlsMaterial::generate();
    let files = material.write_to(directory.path());
    let jwks = directory.path().join("jwks.json");
    let keys = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(IssuerKey::new);
    publish(&keys[..2], &jwks);
    let settings = [
        ("tls.cert_file", files.certificate.to_str().unwrap()),
        ("tls.key_file", files.key.to_str().unwrap()),
        ("jwt.jwks_file", jwks.to_str().unwrap()),
        ("jwt.issuer", "https://id.example"),
    ];
    let fleet = Fleet::start(cluster, &settings).await;
    let authority = reqwest::Certificate::from_pem(material.ca.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let replica = fleet.at(0);
    let ask = async |key: &IssuerKey, issuer: &str| {
        let mut header = Header::new(key.algorithm);
        header.kid = Some(format!("{:?}", key.algorithm));
        let mut claims = claims("sessions:write");
        claims["iss"] = json!(issuer);
        let credential = encode(&header, &claims, &key.private).unwrap();
        let request = client
            .post(format!("https://localhost:{}/v1/sessions", replica.traffic.port()))
            .header("authorization", format!("Bearer {credential}"))
            .json(&json!({}));
        Answer::of(request).await.unwrap()
    };
    for key in &keys[..2] {
        let made = ask(key, "https://id.example").await.expect(201);
        assert!(made.header("location").starts_with("/v1/sessions/"));
        ask(key, "https://other.example").await.problem(401, "unauthorized");
    }
    // A key that is published later is found by its id.
    ask(&keys[2], "https://id.example").await.problem(401, "unauthorized");
    publish(&keys, &jwks);
    eventually(SOON, "the new key", async || {
        ask(&keys[2], "https://id.example").await.status == 201
    })
    .await;
    assert!(replica.try_call("GET", "/v1/stats", None).await.is_err(), "plain HTTP");
    fleet.finish(cluster).await;
}
