//! Encryption at rest: what can be read in Redis, what is refused, and keys that change while everything runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod at_rest;
mod rotation;
mod served;
#[path = "../it/support/mod.rs"]
mod support;
mod switching;
mod tampering;
mod traffic;
mod values;

use std::time::Duration;

use cloakroom::session::{
    ClassName, Classes, DataKey, Json, OperationId, ServerId, SessionId, SystemRandom, Token, UserId,
};
use cloakroom::store::redis::{Encryption, RedisOptions, RedisStore};
use cloakroom::store::{Change, Increment, Lookup, NewSession, Rotation, SessionStore, Snapshot};
use cloakroom::telemetry::Metrics;

use support::store::redis_options;

const MAX_BYTES: u64 = 10_240;

/// One deployment's servers: stores that share a prefix, each with an encryption of its own.
struct Deployment(RedisOptions);

impl Deployment {
    fn new(urls: Vec<String>) -> Self {
        Self(redis_options(urls))
    }

    async fn server(&self, encryption: Encryption) -> Server {
        let metrics = Metrics::new().unwrap();
        let options = RedisOptions {
            encryption,
            ..self.0.clone()
        };
        let store = RedisStore::connect(options, std::sync::Arc::new(SystemRandom), metrics.clone());
        Server {
            store: store.await.unwrap(),
            metrics,
        }
    }

    fn prefix(&self) -> &str {
        &self.0.prefix
    }

    fn key(&self, id: SessionId) -> String {
        format!("{}:{{{}}}:s:{id}", self.prefix(), id.bucket())
    }
}

struct Server {
    store: RedisStore,
    metrics: Metrics,
}

impl Server {
    async fn make(&self, new: NewSession) -> SessionId {
        self.store.create(new, operation()).await.unwrap().snapshot.session.id
    }

    async fn found(&self, id: SessionId) -> Snapshot {
        match self.store.get(id).await.unwrap() {
            Lookup::Found(snapshot) => snapshot,
            other => panic!("{id} should be found, not {other:?}"),
        }
    }

    async fn change(&self, id: SessionId, change: Change) -> cloakroom::store::Result<Snapshot> {
        self.store.change(id, change, MAX_BYTES, operation()).await
    }

    fn opened(&self, key: &str) -> u64 {
        self.metrics.records_opened.with_label_values(&[key]).get()
    }
}

fn operation() -> OperationId {
    OperationId::generate(&SystemRandom).unwrap()
}

fn json(text: &str) -> Json {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

fn key(name: &str) -> DataKey {
    DataKey::new(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

/// A session of a user, with something in every field that users fill.
fn new_session(server: &Server, owner: &str) -> NewSession {
    let (class, timeouts) = Classes::default().get(ClassName::DEFAULT).unwrap();
    let owner = user(owner);
    NewSession {
        id: fresh_id(&server.store, &owner),
        class,
        timeouts,
        data: [
            ("theme".to_owned(), json("\"dark\"")),
            ("visits".to_owned(), json("41")),
        ]
        .into(),
        roles: vec!["reader".to_owned()],
        permissions: vec!["read".to_owned()],
        metadata: [("ip".to_owned(), json("\"192.0.2.7\""))].into(),
        fingerprint: Some("fingerprint".to_owned()),
        server_id: ServerId::new("server-a").unwrap(),
        authenticated: true,
        user_id: Some(owner),
        limit: None,
        kin: Vec::new(),
        durable: false,
    }
}

fn fresh_id(store: &RedisStore, owner: &UserId) -> SessionId {
    sibling(store.keyring().bucket_of(owner))
}

fn sibling(bucket: cloakroom::session::Bucket) -> SessionId {
    Token::generate(bucket, &SystemRandom).unwrap().id()
}

fn set(name: &str, value: &str) -> Change {
    Change {
        data: [(key(name), Some(json(value)))].into(),
        ..Change::default()
    }
}

fn increment(name: &str, by: i64) -> Increment {
    Increment {
        key: key(name),
        by: by.into(),
        max_bytes: MAX_BYTES,
        operation: operation(),
    }
}

fn rotation(new_id: SessionId) -> Rotation {
    Rotation {
        new_id,
        class: None,
        login: false,
        keep: None,
        roles: None,
        permissions: None,
        authenticated: false,
        durable: false,
    }
}

/// All that a caller sees of a session, as text.
fn shown(snapshot: &Snapshot) -> String {
    serde_json::to_string(&snapshot.session).unwrap()
}

const GRACE: Duration = Duration::from_secs(10);
