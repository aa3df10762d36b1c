use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::jwks::KeySet;
use super::jwt::JwtVerifier;

const URL_PACE: Pace = Pace {
    every: Duration::from_secs(50),
    at_most_every: Duration::from_secs(10),
    after_failure: Duration::from_secs(10),
};
/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest key set that is read, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// When keys are fetched from an address.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The longest that a key which was withdrawn is still taken, but for the fetch itself.
    every: Duration,
    /// How often requests with unknown keys have the keys fetched.
    at_most_every: Duration,
    /// How soon a failed fetch is tried again.
    after_failure: Duration,
}

/// Where the public keys of those who issue JWTs are to be had.
#[derive(Debug, Clone)]
pub enum JwksSource {
    /// A file, read again when it has changed.
    File(PathBuf),
    /// An `https:` or `http:` address, fetched again and again.
    Url(String),
}

/// Keeps a verifier's keys fresh, forever. It keeps the last good set where the source fails, and says so.
pub async fn refresh_jwks(source: JwksSource, verifier: Arc<JwtVerifier>) {
    match source {
        JwksSource::File(path) => follow_file(path, verifier).await,
        JwksSource::Url(url) => follow_url(url, verifier, URL_PACE).await,
    }
}

async fn follow_file(path: PathBuf, verifier: Arc<JwtVerifier>) {
    let mut last: Option<Result<Vec<u8>, String>> = None;
    loop {
        // Contents, not times: a mounted secret changes by a link that is set anew.
        let read = tokio::fs::read(&path).await.map_err(|error| error.to_string());
        if last.as_ref() != Some(&read) {
            let keys = read.as_deref().map_err(Clone::clone).and_then(parse);
            accept(&verifier, keys, "jwt.jwks_file");
            last = Some(read);
        }
        sleep(FILE_INTERVAL).await;
    }
}

async fn follow_url(url: String, verifier: Arc<JwtVerifier>, pace: Pace) {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "the JWK set cannot be fetched: no HTTP client");
            return pending().await;
        }
    };
    let refresh = verifier.refresh();
    refresh.possible.store(true, Ordering::Release);
    loop {
        let started = Instant::now();
        let fetched = fetch(&client, &url).await.and_then(|body| parse(&body));
        let pause = if fetched.is_ok() {
            pace.every
        } else {
            pace.after_failure
        };
        accept(&verifier, fetched, "jwt.jwks_url");
        refresh.possible.store(false, Ordering::Release);
        refresh.done.send_modify(|count| *count += 1);

        // A wish that came meanwhile is fulfilled. From here on, unknown keys are refused at once.
        let _ = futures_util::FutureExt::now_or_never(refresh.wanted.notified());
        sleep_until(started + pace.at_most_every).await;
        refresh.possible.store(true, Ordering::Release);
        tokio::select! {
            () = sleep_until(started + pause) => {}
            () = refresh.wanted.notified() => {}
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    // Without its address: a query may hold a key.
    let told = |error: reqwest::Error| error.without_url().to_string();
    let mut response = client.get(url).send().await.map_err(told)?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(format!("larger than {MAX_BYTES} bytes"));
        }
    }
    Ok(body)
}

fn parse(body: impl AsRef<[u8]>) -> Result<KeySet, String> {
    KeySet::parse(body.as_ref()).map_err(|error| error.to_string())
}

fn accept(verifier: &JwtVerifier, keys: Result<KeySet, String>, source: &str) {
    match keys {
        Ok(keys) => {
            tracing::debug!(source, keys = keys.len(), "read the JWK set");
            verifier.set_jwks(keys);
        }
        Err(error) => tracing::warn!(source, %error, "the JWK set cannot be read: going on with the last one"),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
