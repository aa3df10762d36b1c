//! Every operation of the store, once, on sessions of its own, with what it must answer and leave behind.

use std::time::Duration;

use cloakroom::cluster::{FleetError, Leadership, MemberState, Membership};
use cloakroom::session::{Bucket, CartItem, Class, DataKey, SessionId, Timestamp, UserId};
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Change, End, EndReason, EventId, Filter, Increment, Lookup, Rotation, SessionStore};
use cloakroom::store::{StoreError, Touch};

use super::{json, make, new_id, new_session, operation, server, user};
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

const MAX_BYTES: u64 = 10 * 1024;
const GRACE: Duration = Duration::from_secs(10);

/// An operation of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    GetAlias,
    Create,
    Confirm,
    Change,
    ChangeIfMatch,
    Increment,
    Cart,
    Touch,
    TouchAll,
    Migrate,
    Rotate,
    End,
    EndUser,
    SessionsOf,
    RecordActivity,
    Activities,
    EndBucket,
    Sweep,
    Count,
    Page,
    EventsSince,
    Ping,
    Announce,
    Lead,
}

impl Call {
    pub(super) const ALL: [Self; 25] = [
        Self::Get,
        Self::GetAlias,
        Self::Create,
        Self::Confirm,
        Self::Change,
        Self::ChangeIfMatch,
        Self::Increment,
        Self::Cart,
        Self::Touch,
        Self::TouchAll,
        Self::Migrate,
        Self::Rotate,
        Self::End,
        Self::EndUser,
        Self::SessionsOf,
        Self::RecordActivity,
        Self::Activities,
        Self::EndBucket,
        Self::Sweep,
        Self::Count,
        Self::Page,
        Self::EventsSince,
        Self::Ping,
        Self::Announce,
        Self::Lead,
    ];

    /// How many sessions, or other things, one run of it writes to the bucket's events.
    fn events(self) -> usize {
        match self {
            Self::Create
            | Self::Confirm
            | Self::Change
            | Self::ChangeIfMatch
            | Self::Increment
            | Self::Cart
            | Self::Migrate
            | Self::Rotate
            | Self::End
            | Self::Sweep => 1,
            Self::EndUser | Self::EndBucket => 2,
            _ => 0,
        }
    }
}

/// What a call works on: a user with a plain session and one that was rotated.
pub(super) struct Scene {
    pub(super) call: Call,
    pub(super) user: UserId,
    pub(super) bucket: Bucket,
    pub(super) plain: SessionId,
    pub(super) former: SessionId,
    pub(super) rotated: SessionId,
    fresh: SessionId,
    told: usize,
}

pub(super) fn plain_rotation(new_id: SessionId) -> Rotation {
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

pub(super) fn log_out() -> End {
    End {
        reason: EndReason::Logout,
        if_version: None,
        durable: false,
    }
}

pub(super) fn use_now(id: SessionId) -> Touch {
    Touch {
        id,
        age: Duration::ZERO,
        migrate: None,
    }
}

pub(super) fn add(by: u32) -> Increment {
    Increment {
        key: DataKey::new("n").unwrap(),
        by: by.into(),
        max_bytes: MAX_BYTES,
        operation: operation(),
    }
}

pub(super) fn set(key: &str, value: &str) -> Change {
    Change {
        data: [(DataKey::new(key).unwrap(), Some(json(value)))].into(),
        ..Change::default()
    }
}

/// The id from which on the streams hold everything.
pub(super) fn beginning(bucket: Bucket) -> EventId {
    EventId {
        at: Timestamp::from_millis(1),
        sequence: 0,
        bucket,
    }
}

impl Scene {
    /// A stage for one call, in a bucket of its own.
    pub(super) async fn new(store: &RedisStore, call: Call) -> Self {
        let (user, bucket) = loop {
            let user = user(&unique_prefix());
            let bucket = store.keyring().bucket_of(&user);
            if store.count(bucket).await.unwrap().by_class.is_empty() {
                break (user, bucket);
            }
        };
        let mut first = new_session(store, &user);
        if call == Call::Sweep {
            first.timeouts = Class {
                idle: Duration::from_millis(20),
                absolute: Duration::from_millis(20),
            };
        }
        let plain = make(store, first).await;
        let former = make(store, new_session(store, &user)).await;
        let rotated = new_id(bucket);
        store
            .rotate(former, plain_rotation(rotated), operation())
            .await
            .unwrap();
        if call == Call::Sweep {
            eventually(SOON, "the session to expire", async || {
                match store.get(plain).await.unwrap() {
                    Lookup::Found(snapshot) => snapshot.now >= snapshot.session.expires_at,
                    _ => true,
                }
            })
            .await;
        }
        let mut scene = Self {
            call,
            user,
            bucket,
            plain,
            former,
            rotated,
            fresh: new_id(bucket),
            told: 0,
        };
        scene.told = scene.count_events(store).await;
        scene
    }

    /// Makes the call and checks its answer.
    pub(super) async fn run(&self, store: &RedisStore) -> Result<(), StoreError> {
        match self.call {
            Call::Get => self.expect_found(store.get(self.plain).await?, self.plain),
            Call::GetAlias => self.expect_found(store.get(self.former).await?, self.rotated),
            Call::Create => {
                let mut new = new_session(store, &self.user);
                new.id = self.fresh;
                let created = store.create(new, operation()).await?;
                assert_eq!(created.snapshot.session.id, self.fresh);
            }
            Call::Confirm => assert!(!store.confirm(self.rotated, GRACE).await?.session.unconfirmed),
            Call::Change => {
                let changed = store.change(self.plain, set("k", "[]"), MAX_BYTES, operation()).await?;
                assert_eq!((changed.session.version, changed.session.data["k"].get()), (2, "[]"));
            }
            Call::ChangeIfMatch => {
                let change = cloakroom::store::Change {
                    if_match: Some(vec![1]),
                    ..set("k", "[]")
                };
                let changed = store.change(self.plain, change, MAX_BYTES, operation()).await?;
                assert_eq!(changed.session.version, 2);
            }
            Call::Increment => assert_eq!(store.increment(self.plain, add(5)).await?, 6.into()),
            Call::Cart => {
                let item = CartItem {
                    product_id: "coat".to_owned(),
                    quantity: 2,
                };
                let cart = store
                    .add_to_cart(self.plain, item.clone(), MAX_BYTES, operation())
                    .await?;
                assert_eq!(cart, [item]);
            }
            Call::Touch => assert_eq!(store.touch(use_now(self.plain)).await?.session.id, self.plain),
            Call::TouchAll => {
                for outcome in store.touch_all(vec![use_now(self.plain), use_now(self.rotated)]).await {
                    assert!(outcome?);
                }
            }
            Call::Migrate => {
                let moved = store.migrate(self.plain, server("server-b")).await?;
                assert_eq!(moved.session.server_id, server("server-b"));
            }
            Call::Rotate => {
                let rotated = store
                    .rotate(self.plain, plain_rotation(self.fresh), operation())
                    .await?;
                assert_eq!(rotated.snapshot.session.id, self.fresh);
            }
            Call::End => assert_eq!(store.end(self.plain, log_out()).await?.sessions, [self.plain]),
            Call::EndUser => {
                let ended = store.end_user(&self.user, None, false, operation()).await?;
                assert_eq!((ended.sessions.len(), ended.kin), (2, vec![self.former]));
            }
            Call::SessionsOf => assert_eq!(store.sessions_of(&self.user).await?.len(), 2),
            Call::RecordActivity => {
                store
                    .record_activity(self.plain, "look".to_owned(), [].into(), operation())
                    .await?;
            }
            Call::Activities => assert!(store.activities(self.plain).await?.is_empty()),
            Call::EndBucket => {
                let step = store.end_bucket(self.bucket, None, 10).await?;
                assert_eq!((step.ended.sessions.len(), step.ended.kin), (2, vec![self.former]));
            }
            Call::Sweep => {
                store.sweep(self.bucket, 10).await?;
            }
            Call::Count => assert_eq!(store.count(self.bucket).await?.by_class["normal"], 2),
            Call::Page => {
                let page = store.page(self.bucket, None, 10, &Filter::default()).await?;
                assert_eq!(page.len(), 2);
            }
            Call::EventsSince => assert!(
                !store
                    .events_since(self.bucket, beginning(self.bucket))
                    .await?
                    .events
                    .is_empty()
            ),
            Call::Ping => {
                store.ping().await?;
            }
            Call::Announce => {
                let members = store.announce(&server("server-a"), MemberState::Live, GRACE).await;
                let members = members.map_err(of_the_store)?;
                assert!(members.is_live(&server("server-a")));
            }
            Call::Lead => assert_eq!(
                store.acquire(&server("server-a"), GRACE).await.map_err(of_the_store)?,
                Some(server("server-a"))
            ),
        }
        Ok(())
    }

    /// Checks that the call has had its effect, and once.
    pub(super) async fn check_effect(&self, store: &RedisStore) {
        let call = self.call;
        assert_eq!(
            self.count_events(store).await - self.told,
            call.events(),
            "events of {call:?}"
        );
        let sessions = store.sessions_of(&self.user).await.unwrap();
        let expected = match call {
            Call::Create => 3,
            Call::EndUser | Call::EndBucket => 0,
            Call::End | Call::Sweep => 1,
            _ => 2,
        };
        assert_eq!(sessions.len(), expected, "sessions after {call:?}");
        let counts = store.count(self.bucket).await.unwrap();
        assert_eq!(
            counts.by_class.values().sum::<u64>(),
            expected as u64,
            "counts after {call:?}"
        );
        let id = if call == Call::Confirm {
            self.rotated
        } else {
            self.plain
        };
        let session = match store.get(id).await.unwrap() {
            Lookup::Found(snapshot) => snapshot.session,
            _ => return,
        };
        match call {
            Call::Change | Call::ChangeIfMatch => assert_eq!(session.version, 2),
            Call::Increment => assert_eq!((session.version, session.data["n"].get()), (2, "6")),
            Call::Cart => assert_eq!(session.data["cart"].get(), r#"[{"product_id":"coat","quantity":2}]"#),
            Call::Migrate => assert_eq!((session.migrations, counts.by_server["server-b"]), (1, 1)),
            Call::Confirm => assert_eq!((session.version, session.unconfirmed), (3, false)),
            Call::Rotate => assert_eq!((session.id, session.version), (self.fresh, 2)),
            Call::RecordActivity => assert_eq!(store.activities(id).await.unwrap().len(), 1),
            Call::Touch => assert_eq!(session.version, 1),
            _ => {}
        }
    }

    fn expect_found(&self, lookup: Lookup, id: SessionId) {
        match lookup {
            Lookup::Found(snapshot) => assert_eq!(snapshot.session.id, id, "{:?}", self.call),
            other => panic!("{:?}: {other:?}", self.call),
        }
    }

    /// How many events the bucket's stream holds.
    async fn count_events(&self, store: &RedisStore) -> usize {
        let replay = store.events_since(self.bucket, beginning(self.bucket)).await.unwrap();
        let of_user = |event: &&cloakroom::store::Event| event.user_id.as_ref() == Some(&self.user);
        replay.events.iter().filter(of_user).count()
    }
}

/// What the store said of the fleet that it keeps.
fn of_the_store(error: FleetError) -> StoreError {
    match error {
        FleetError::Store(error) => error,
        FleetError::Kubernetes(why) => panic!("no Kubernetes was asked: {why}"),
    }
}
