//! Encryption that is switched on, and off again, in a deployment that has sessions.

use cloakroom::session::{CartItem, SecurityChange};
use cloakroom::store::redis::{Encryption, PlainRecords};
use cloakroom::store::{Change, SessionStore};

use super::support::server::RedisServer;
use super::support::single_redis::shared_single_redis;
use super::support::store::encryption;
use super::{Deployment, GRACE, MAX_BYTES, Server, increment, json, new_session, operation, rotation, set, shown};
use cloakroom::session::SessionId;

/// The ways to write a session: each must leave it in the form that its server writes.
#[derive(Clone, Copy, Debug)]
enum Write {
    Data,
    Roles,
    Increment,
    Cart,
    Rotate,
    Migrate,
    Activity,
}

const WRITES: [Write; 7] = [
    Write::Data,
    Write::Roles,
    Write::Increment,
    Write::Cart,
    Write::Rotate,
    Write::Migrate,
    Write::Activity,
];

impl Write {
    async fn by(self, server: &Server, id: SessionId) -> SessionId {
        let store = &server.store;
        match self {
            Self::Data => {
                server.change(id, set("colour", "\"red\"")).await.unwrap();
            }
            Self::Roles => {
                let change = Change {
                    roles: Some(vec!["writer".to_owned()]),
                    metadata: [("ip".to_owned(), None), ("agent".to_owned(), Some(json("\"b\"")))].into(),
                    security: SecurityChange {
                        suspicious: Some(true),
                        ..SecurityChange::default()
                    },
                    ..Change::default()
                };
                server.change(id, change).await.unwrap();
            }
            Self::Increment => assert_eq!(
                store.increment(id, increment("visits", 1)).await.unwrap().as_i64(),
                Some(42)
            ),
            Self::Cart => {
                let item = CartItem {
                    product_id: "tea".to_owned(),
                    quantity: 3,
                };
                store.add_to_cart(id, item, MAX_BYTES, operation()).await.unwrap();
            }
            Self::Rotate => {
                let new_id = super::sibling(id.bucket());
                store.rotate(id, rotation(new_id), operation()).await.unwrap();
                store.confirm(new_id, GRACE).await.unwrap();
                return new_id;
            }
            Self::Migrate => {
                let home = cloakroom::session::ServerId::new("server-b").unwrap();
                store.migrate(id, home).await.unwrap();
            }
            Self::Activity => {
                let list = store
                    .record_activity(id, "look".to_owned(), [].into(), operation())
                    .await;
                assert_eq!(list.unwrap()[0].action, "look");
            }
        }
        id
    }
}

async fn is_sealed(redis: &RedisServer, deployment: &Deployment, id: SessionId) -> bool {
    let key = deployment.key(id);
    let fields: Vec<(String, Vec<u8>)> = redis.ask(&["HGETALL", &key]).await;
    let sealed = fields.iter().any(|(name, _)| name == "s");
    for (name, value) in &fields {
        if name.starts_with("d:") {
            assert_eq!(value[0] == 1, sealed, "a record has one form: {name}");
        }
    }
    sealed
}

/// Both by the same server and by one that reads only: the session is what it was, but for what was written.
async fn write_and_compare(before: &Server, after: &Server, write: Write) -> SessionId {
    let (twin, id) = (
        before.make(new_session(before, "twin")).await,
        before.make(new_session(before, "alice")).await,
    );
    before
        .store
        .record_activity(id, "before".to_owned(), [].into(), operation())
        .await
        .unwrap();
    let expected = write.by(before, twin).await;
    let expected = before.found(expected).await;
    let id = write.by(after, id).await;
    let found = after.found(id).await;
    let comparable = |snapshot: &cloakroom::store::Snapshot| {
        let mut value: serde_json::Value = serde_json::from_str(&shown(snapshot)).unwrap();
        let map = value.as_object_mut().unwrap();
        map.retain(|name, _| !name.ends_with("_at") && name != "id" && name != "user_id");
        value
    };
    assert_eq!(comparable(&found), comparable(&expected), "{write:?}");
    assert_eq!(found.session.user_id.as_ref().unwrap().as_str(), "alice");
    assert_eq!(found.session.fingerprint.as_deref(), Some("fingerprint"));
    let activities = after.store.activities(id).await.unwrap();
    assert_eq!(activities.last().unwrap().action, "before", "{write:?}");
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_plain_records_are_read_and_sealed_when_they_are_next_written() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let before = deployment.server(Encryption::default()).await;
    let after = deployment.server(encryption(&["key"], PlainRecords::Read)).await;
    for write in WRITES {
        let id = write_and_compare(&before, &after, write).await;
        assert!(is_sealed(redis, &deployment, id).await, "{write:?}");
    }
    assert!(after.opened("none") > 0 && after.opened("older") == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_sealed_records_are_read_and_made_plain_when_they_are_next_written() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let before = deployment.server(encryption(&["key"], PlainRecords::Read)).await;
    let after = deployment.server(encryption(&["key"], PlainRecords::Write)).await;
    let off = deployment.server(Encryption::default()).await;
    for write in WRITES {
        let id = write_and_compare(&before, &after, write).await;
        if matches!(write, Write::Activity) {
            // It reads nothing of the record.
            continue;
        }
        assert!(!is_sealed(redis, &deployment, id).await, "{write:?}");
        assert_eq!(shown(&off.found(id).await), shown(&after.found(id).await), "{write:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_record_under_an_older_key_is_sealed_under_the_first_when_it_is_next_written() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let before = deployment.server(encryption(&["old"], PlainRecords::Refuse)).await;
    let after = deployment
        .server(encryption(&["new", "old"], PlainRecords::Refuse))
        .await;
    let later = deployment.server(encryption(&["new"], PlainRecords::Refuse)).await;
    for write in WRITES {
        let id = write_and_compare(&before, &after, write).await;
        let without_the_old_key = later.found(id).await;
        assert_eq!(shown(&without_the_old_key), shown(&after.found(id).await), "{write:?}");
    }
    assert!(after.opened("older") > 0 && after.metrics.records_resealed.get() >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_seal_and_servers_that_do_not_lose_nothing_of_each_other() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let plain = deployment.server(encryption(&["key"], PlainRecords::Write)).await;
    let sealing = deployment.server(encryption(&["key"], PlainRecords::Read)).await;
    let mut id = plain.make(new_session(&plain, "alice")).await;
    let mut expected = 41;
    for round in 0..20 {
        for server in [&plain, &sealing] {
            server.store.increment(id, increment("visits", 1)).await.unwrap();
            expected += 1;
            let role = format!("role {round}");
            let change = Change {
                roles: Some(vec![role.clone()]),
                ..set(&format!("key {round}"), "1")
            };
            let changed = server.change(id, change).await.unwrap();
            assert_eq!(changed.session.roles, [role]);
            if round % 5 == 0 {
                id = Write::Rotate.by(server, id).await;
            }
        }
    }
    for server in [&plain, &sealing] {
        let session = server.found(id).await.session;
        assert_eq!(session.data["visits"].get(), expected.to_string());
        assert_eq!(session.data.len(), 22);
        assert_eq!(session.data_bytes, cloakroom::session::data_bytes(&session.data));
    }
}
