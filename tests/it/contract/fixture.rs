use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::{
    Bucket, Class, ClassName, DataKey, Json, JsonMap, ManualClock, OperationId, ServerId, SessionId, SystemRandom,
    Token, UserId, Verdict,
};
use cloakroom::store::{
    Change, End, EndReason, Increment, Lookup, NewSession, Rotation, SessionStore, Snapshot, StoreError, Touch,
};

/// More than any case stores.
pub(crate) const MAX_BYTES: u64 = 10_240;

/// A store under test and what its cases need around it.
pub(crate) struct Fixture {
    /// The store, which no other test uses.
    pub(crate) store: Arc<dyn SessionStore>,
    clock: Option<ManualClock>,
}

/// A user whom no other test knows.
pub(crate) fn fresh_user() -> UserId {
    UserId::new(&format!("user-{}", operation())).unwrap()
}

/// An anonymous session, to be made.
pub(crate) fn anonymous_session() -> NewSession {
    let day = Duration::from_hours(24);
    let bucket = cloakroom::session::Keyring::random_bucket(&SystemRandom).unwrap();
    blank(
        fresh_id(bucket),
        Class {
            idle: day,
            absolute: 7 * day,
        },
    )
}

impl Fixture {
    /// A store whose time stands still until [`Fixture::advance`] moves it.
    pub(crate) fn with_manual_clock(store: Arc<dyn SessionStore>, clock: ManualClock) -> Self {
        Self {
            store,
            clock: Some(clock),
        }
    }

    /// A store whose time runs.
    pub(crate) fn with_clock_of_its_own(store: Arc<dyn SessionStore>) -> Self {
        Self { store, clock: None }
    }

    /// Lets time pass: by the manual clock, or by waiting where the store has a clock of its own.
    pub(crate) async fn advance(&self, duration: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(duration),
            None => tokio::time::sleep(duration).await,
        }
    }

    /// A fresh id in the bucket of a user.
    pub(crate) fn id_for(&self, user: &UserId) -> SessionId {
        fresh_id(self.store.keyring().bucket_of(user))
    }

    /// A session of a user, to be made: a day idle, a week at most.
    pub(crate) fn new_session(&self, user: &UserId) -> NewSession {
        let day = Duration::from_hours(24);
        NewSession {
            user_id: Some(user.clone()),
            authenticated: true,
            ..blank(
                self.id_for(user),
                Class {
                    idle: day,
                    absolute: 7 * day,
                },
            )
        }
    }

    /// A session of a user, to be made, that ends after `idle`.
    pub(crate) fn short_session(&self, user: &UserId, idle: Duration, absolute: Duration) -> NewSession {
        NewSession {
            timeouts: Class { idle, absolute },
            ..self.new_session(user)
        }
    }

    /// Makes a session.
    pub(crate) async fn make(&self, new: NewSession) -> Snapshot {
        self.store.create(new, operation()).await.unwrap().snapshot
    }

    /// Makes a session of a fresh user.
    pub(crate) async fn make_one(&self) -> SessionId {
        self.make(self.new_session(&fresh_user())).await.session.id
    }

    /// A session that must be found, alive or expired.
    pub(crate) async fn found(&self, id: SessionId) -> Snapshot {
        match self.store.get(id).await.unwrap() {
            Lookup::Found(snapshot) => snapshot,
            other => panic!("{id} should be found, not {other:?}"),
        }
    }

    /// Asserts that there is no such session.
    pub(crate) async fn assert_missing(&self, id: SessionId) {
        let lookup = self.store.get(id).await.unwrap();
        assert!(matches!(lookup, Lookup::Missing), "{id} should be missing: {lookup:?}");
    }

    /// Sets one data key.
    pub(crate) async fn set(&self, id: SessionId, key: &str, json: &str) -> cloakroom::store::Result<Snapshot> {
        self.store.change(id, set(key, json), MAX_BYTES, operation()).await
    }

    /// Ends a session as a log-out does.
    pub(crate) async fn end(&self, id: SessionId) -> cloakroom::store::Ended {
        self.store.end(id, logout()).await.unwrap()
    }

    /// Rotates a session and gives its new id.
    pub(crate) async fn rotate(&self, id: SessionId) -> SessionId {
        let new_id = fresh_id(id.bucket());
        self.store.rotate(id, rotation(new_id), operation()).await.unwrap();
        new_id
    }

    /// The ids of a user's live sessions, sorted.
    pub(crate) async fn ids_of(&self, user: &UserId) -> Vec<SessionId> {
        let mut ids: Vec<SessionId> = self
            .store
            .sessions_of(user)
            .await
            .unwrap()
            .iter()
            .map(|snapshot| snapshot.session.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Asserts that every operation that changes a session finds none, and that none comes into being.
    pub(crate) async fn assert_unchangeable(&self, id: SessionId) {
        let store = &self.store;
        let outcomes = [
            ("change", self.set(id, "a", "1").await.err()),
            ("increment", store.increment(id, increment("n", "1")).await.err()),
            (
                "cart",
                store.add_to_cart(id, item("p", 1), MAX_BYTES, operation()).await.err(),
            ),
            ("touch", store.touch(touch(id)).await.err()),
            ("migrate", store.migrate(id, server("elsewhere")).await.err()),
            (
                "rotate",
                store
                    .rotate(id, rotation(fresh_id(id.bucket())), operation())
                    .await
                    .err(),
            ),
            ("confirm", store.confirm(id, Duration::ZERO).await.err()),
            (
                "activity",
                store
                    .record_activity(id, "look".to_owned(), JsonMap::new(), operation())
                    .await
                    .err(),
            ),
        ];
        for (name, error) in outcomes {
            assert!(
                matches!(error, Some(StoreError::NotFound)),
                "{name} should find nothing: {error:?}"
            );
        }
        let touched = store.touch_all(vec![touch(id)]).await;
        assert!(matches!(touched[..], [Ok(false)]), "{touched:?}");
    }
}

fn blank(id: SessionId, timeouts: Class) -> NewSession {
    NewSession {
        id,
        user_id: None,
        class: class(ClassName::DEFAULT),
        timeouts,
        data: JsonMap::new(),
        roles: Vec::new(),
        permissions: Vec::new(),
        metadata: JsonMap::new(),
        fingerprint: None,
        server_id: server("pod-0"),
        authenticated: false,
        limit: None,
        kin: Vec::new(),
        durable: false,
    }
}

/// A fresh id in a bucket.
pub(crate) fn fresh_id(bucket: Bucket) -> SessionId {
    Token::generate(bucket, &SystemRandom).unwrap().id()
}

/// A fresh operation id.
pub(crate) fn operation() -> OperationId {
    OperationId::generate(&SystemRandom).unwrap()
}

pub(crate) fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

pub(crate) fn class(name: &str) -> ClassName {
    ClassName::new(name).unwrap()
}

pub(crate) fn key(name: &str) -> DataKey {
    DataKey::new(name).unwrap()
}

pub(crate) fn json(text: &str) -> Json {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

fn borrowed(key: Cow<'_, str>) -> &str {
    match key {
        Cow::Borrowed(key) => key,
        Cow::Owned(key) => key.leak(),
    }
}

/// A map of JSON values, shown as text so that it can be compared.
pub(crate) fn texts(map: &JsonMap) -> Vec<(&str, &str)> {
    map.iter().map(|(key, value)| (borrowed(key), value.get())).collect()
}

/// A change that sets one data key.
pub(crate) fn set(name: &str, value: &str) -> Change {
    Change {
        data: [(key(name), Some(json(value)))].into(),
        ..Change::default()
    }
}

/// A change that removes one data key.
pub(crate) fn unset(name: &str) -> Change {
    Change {
        data: [(key(name), None)].into(),
        ..Change::default()
    }
}

pub(crate) fn increment(name: &str, by: &str) -> Increment {
    Increment {
        key: key(name),
        by: by.parse().unwrap(),
        max_bytes: MAX_BYTES,
        operation: operation(),
    }
}

pub(crate) fn item(product: &str, quantity: u64) -> cloakroom::session::CartItem {
    cloakroom::session::CartItem {
        product_id: product.to_owned(),
        quantity,
    }
}

/// A use just now.
pub(crate) fn touch(id: SessionId) -> Touch {
    Touch {
        id,
        age: Duration::ZERO,
        migrate: None,
    }
}

/// A rotation that changes nothing but the id.
pub(crate) fn rotation(new_id: SessionId) -> Rotation {
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

pub(crate) fn logout() -> End {
    End {
        reason: EndReason::Logout,
        if_version: None,
        durable: false,
    }
}

pub(crate) fn is_alive(snapshot: &Snapshot) -> bool {
    snapshot.session.verdict(snapshot.now) == Verdict::Alive
}

pub(crate) fn sorted(mut ids: Vec<SessionId>) -> Vec<SessionId> {
    ids.sort_unstable();
    ids
}
