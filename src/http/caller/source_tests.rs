use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;

use super::super::jwt::Refusal;
use super::super::jwt::tests::{Pair, verifier};
use super::super::scope::Scope;
use super::*;

const NO_KEYS: &str = r#"{"keys": []}"#;

/// An issuer's JWK set on a port of its own.
#[derive(Clone)]
struct Issuer {
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> (Self, String) {
        let issuer = Self {
            answer: Arc::new(Mutex::new((StatusCode::OK, NO_KEYS.to_owned()))),
            asked: Arc::default(),
        };
        let answer = |State(issuer): State<Self>| async move {
            issuer.asked.fetch_add(1, Ordering::SeqCst);
            issuer.answer.lock().clone()
        };
        let router = Router::new().route("/jwks", get(answer)).with_state(issuer.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (issuer, url)
    }
}

#[tokio::test]
async fn keys_are_fetched_at_the_start_and_size_and_status_are_checked() {
    let (issuer, url) = Issuer::start().await;
    let client = reqwest::Client::new();
    assert!(fetch(&client, &url).await.and_then(parse).is_ok());
    *issuer.answer.lock() = (StatusCode::INTERNAL_SERVER_ERROR, NO_KEYS.to_owned());
    assert!(fetch(&client, &url).await.unwrap_err().contains("500"));
    *issuer.answer.lock() = (StatusCode::OK, " ".repeat(MAX_BYTES + 1));
    assert!(fetch(&client, &url).await.unwrap_err().contains("larger"));
    *issuer.answer.lock() = (StatusCode::OK, "<html>".to_owned());
    assert!(
        fetch(&client, &url)
            .await
            .and_then(parse)
            .unwrap_err()
            .contains("no JWK set")
    );
    let nobody = fetch(&client, "http://127.0.0.1:1/jwks?key=hidden").await.unwrap_err();
    assert!(!nobody.contains("hidden"), "{nobody}");
}

#[tokio::test]
async fn the_task_fetches_and_tells_those_who_wait() {
    let (issuer, url) = Issuer::start().await;
    let verifier = Arc::new(verifier(None));
    let mut done = verifier.refresh().done.subscribe();
    let task = tokio::spawn(refresh_jwks(JwksSource::Url(url), Arc::clone(&verifier)));
    tokio::time::timeout(Duration::from_secs(5), done.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    assert!(
        !verifier.refresh().possible.load(Ordering::SeqCst),
        "not again within the next seconds"
    );
    task.abort();
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_within_a_minute_though_its_token_was_remembered() {
    assert!(URL_PACE.every + FETCH_TIMEOUT < Duration::from_mins(1));
    let (issuer, url) = Issuer::start().await;
    let [kept, withdrawn] = ["kept", "withdrawn"].map(|kid| Pair::new(Algorithm::EdDSA, kid));
    let publish = |pairs: &[&Pair]| {
        let keys: Vec<_> = pairs.iter().map(|pair| &pair.public).collect();
        issuer.answer.lock().1 = serde_json::json!({ "keys": keys }).to_string();
    };
    publish(&[&kept, &withdrawn]);
    let verifier = Arc::new(verifier(None));
    let pace = Pace {
        every: Duration::from_millis(200),
        at_most_every: Duration::from_millis(100),
        after_failure: Duration::from_millis(100),
    };
    let task = tokio::spawn(follow_url(url, Arc::clone(&verifier), pace));
    until(|| verifier.knows("withdrawn")).await;
    let [still, no_more] = [kept.sign(Some("kept")), withdrawn.sign(Some("withdrawn"))];
    // Another fetch of the same keys may come in between: it is all judged anew then.
    until_accepted(&verifier, &no_more).await;

    publish(&[&kept]);
    until(|| !verifier.knows("withdrawn")).await;
    assert_eq!(verifier.recall(&no_more), None, "it is remembered without its key");
    assert_eq!(verifier.authenticate(&no_more).await, Err(Refusal::UnknownKey));
    assert_eq!(verifier.authenticate(&still).await, Ok(Some(Scope::Write)));
    task.abort();
}

/// Has a token judged until that is remembered.
async fn until_accepted(verifier: &JwtVerifier, token: &str) {
    let accepted = async {
        loop {
            assert_eq!(verifier.authenticate(token).await, Ok(Some(Scope::Write)));
            if verifier.recall(token).is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), accepted)
        .await
        .expect("it is never remembered");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    let key = |kid: &str| {
        format!(
            r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "x": "{}", "kid": "{kid}"}}]}}"#,
            "A".repeat(43)
        )
    };
    std::fs::write(&path, key("first")).unwrap();
    let verifier = Arc::new(verifier(None));
    let task = tokio::spawn(refresh_jwks(JwksSource::File(path.clone()), Arc::clone(&verifier)));
    until(|| verifier.knows("first")).await;
    std::fs::write(&path, key("second")).unwrap();
    until(|| verifier.knows("second")).await;
    assert!(!verifier.knows("first"));
    std::fs::write(&path, "<html>").unwrap();
    sleep(FILE_INTERVAL + Duration::from_millis(200)).await;
    assert!(verifier.knows("second"));
    task.abort();
}

async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met)
        .await
        .expect("it never came");
}
