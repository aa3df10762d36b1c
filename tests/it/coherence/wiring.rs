//! The rules of the write side as the façade keeps them: with a memory that hears of nothing, or of a failover's undoing.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::{CartItem, SessionId, UserId};
use cloakroom::sessions::{Error, PageRequest, Presented, RotateRequest, Validation};
use cloakroom::store::StoreError;
use tokio::time::{sleep, timeout};

use super::pod::{Deaf, FROM_MEMORY, Pod, STRONG, key, memory, memory_store, number, number_of, url};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::server::{Acl, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

/// Shorter than the bound by far, and long enough for a request to reach Redis.
const A_WHILE: Duration = Duration::from_millis(150);

/// Rule W2: its own write is read on the writer at once, though no invalidation ever comes.
#[tokio::test]
async fn every_writer_drops_its_own_copy() {
    let pod = Pod::start(memory_store(), Arc::new(Deaf), memory()).await;
    let sessions = &pod.sessions;
    let id = pod.create(None).await;
    let fresh = async |what: &str| {
        let read = sessions.get(id, FROM_MEMORY).await.unwrap().unwrap();
        let stored = sessions.get(id, STRONG).await.unwrap().unwrap();
        assert_eq!(read.version, stored.version, "after {what}");
        assert_eq!(read.last_activity_at, stored.last_activity_at, "after {what}");
        pod.warm(id).await;
    };
    pod.warm(id).await;
    sessions.change(id, number(1)).await.unwrap();
    fresh("a change").await;
    sessions.set_value(id, key(), None, None).await.unwrap();
    fresh("a value").await;
    sessions.increment(id, key(), 1.into()).await.unwrap();
    fresh("an increment").await;
    let item = CartItem {
        product_id: "coat".to_owned(),
        quantity: 1,
    };
    sessions.add_to_cart(id, item).await.unwrap();
    fresh("a cart").await;
    sleep(Duration::from_millis(2)).await;
    sessions.touch(id).await.unwrap();
    fresh("a touch").await;

    let rotated = sessions.rotate(id, RotateRequest::default()).await.unwrap();
    let by_old = sessions.get(id, FROM_MEMORY).await.unwrap().unwrap();
    assert_eq!(by_old.id, rotated.session.id, "after a rotation");
    let token = rotated.token.expose();
    let presented = Presented {
        token: &token,
        csrf_token: None,
        client: cloakroom::sessions::ClientTraits::default(),
        touch: false,
        freshness: FROM_MEMORY,
    };
    pod.warm(rotated.session.id).await;
    assert!(matches!(
        sessions.validate(presented).await.unwrap(),
        Validation::Valid(_)
    ));
    let confirmed = sessions.get(rotated.session.id, FROM_MEMORY).await.unwrap().unwrap();
    assert!(!confirmed.unconfirmed, "after the first use");

    let before = pod.warm(rotated.session.id).await;
    sessions.change(id, number(7)).await.unwrap();
    let after = sessions.get(before.id, FROM_MEMORY).await.unwrap().unwrap();
    assert_eq!(number_of(&after), 7, "after a change under a former id");

    sessions.end(rotated.session.id, false).await.unwrap();
    assert!(sessions.get(rotated.session.id, FROM_MEMORY).await.unwrap().is_none());
}

/// A Redis behind a proxy that lets no invalidation through.
struct Muted {
    redis: SingleRedis,
    proxy: ChaosProxy,
    prefix: String,
}

impl Muted {
    async fn start() -> Self {
        let redis = SingleRedis::start(ServerOptions::default()).await;
        let proxy = ChaosProxy::start(redis.address());
        proxy.drop_replies_containing("smessage");
        let prefix = unique_prefix();
        Self { redis, proxy, prefix }
    }

    async fn pod(&self) -> Pod {
        Pod::over_redis(url(self.proxy.address()), &self.prefix, memory()).await
    }

    /// Gives up on a request that Redis has executed, before it is answered.
    async fn abandon(&self, request: impl Future) {
        self.proxy.hold_replies(true);
        assert!(timeout(A_WHILE, request).await.is_err(), "an answer came through");
        self.proxy.hold_replies(false);
    }

    fn session(&self, id: SessionId) -> String {
        let id = id.to_string();
        format!("{}:{{{}}}:s:{id}", self.prefix, &id[..2])
    }
}

/// Rule W2, and no caller that waits.
#[tokio::test]
async fn a_change_that_nobody_waits_for_drops_the_copy_too() {
    let muted = Muted::start().await;
    let pod = muted.pod().await;
    let id = pod.create(None).await;
    pod.warm(id).await;
    muted.abandon(pod.sessions.change(id, number(1))).await;
    let read = pod.sessions.get(id, FROM_MEMORY).await.unwrap().unwrap();
    assert_eq!(number_of(&read), 1);
}

/// Rule W3, and no caller that waits.
#[tokio::test]
async fn an_end_that_nobody_waits_for_is_kept_for_repetition() {
    let muted = Muted::start().await;
    let pod = muted.pod().await;
    let id = pod.create(None).await;
    let (session, copy) = (muted.session(id), format!("{{{}}}copy", &id.to_string()[..2]));
    muted.redis.command(&["COPY", &session, &copy]).await;
    pod.warm(id).await;
    muted.abandon(pod.sessions.end(id, false)).await;
    assert!(pod.sessions.get(id, FROM_MEMORY).await.unwrap().is_none());
    muted.redis.command(&["COPY", &copy, &session]).await;
    assert!(
        pod.sessions.get(id, STRONG).await.unwrap().is_none(),
        "what a failover revived"
    );
    pod.sessions.redo_ends().await;
    assert!(
        !muted.redis.ask::<bool>(&["EXISTS", &session]).await,
        "it was not repeated"
    );
}

/// Rule W3 on a pod that only heard of the end, and of the ids before a rotation.
#[tokio::test]
async fn what_a_failover_revives_is_not_answered_by_who_heard_of_its_end() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let prefix = unique_prefix();
    let one = Pod::over_redis(redis.url(), &prefix, memory()).await;
    let other = Pod::over_redis(redis.url(), &prefix, memory()).await;
    let alice = UserId::new("alice").unwrap();
    let former = one.create(Some("alice")).await;
    let tag = format!("{prefix}:{{{}}}:", &former.to_string()[..2]);
    let kept = ["s:", "r:"].map(|kind| format!("{tag}{kind}{former}"));
    let copy = |name: &str| format!("copy of {name}");
    redis.command(&["COPY", &kept[0], &copy(&kept[0])]).await;
    let now = one
        .sessions
        .rotate(former, RotateRequest::default())
        .await
        .unwrap()
        .session
        .id;
    let names = redis.keys(&format!("{tag}*")).await;
    let names: Vec<_> = names.iter().filter(|name| !name.ends_with(":e")).collect();
    for name in &names {
        redis.command(&["COPY", name, &copy(name), "REPLACE"]).await;
    }
    one.sessions.end(now, false).await.unwrap();
    eventually(SOON, "the end to be heard of", async || {
        other.sessions.get(now, FROM_MEMORY).await.unwrap().is_none()
    })
    .await;
    sleep(A_WHILE).await;
    for name in &names {
        redis.command(&["COPY", &copy(name), name, "REPLACE"]).await;
    }
    assert!(other.sessions.get(now, STRONG).await.unwrap().is_none());
    assert!(other.sessions.get(former, STRONG).await.unwrap().is_none());
    assert!(other.sessions.sessions_of(&alice).await.unwrap().is_empty());
    assert!(
        other
            .sessions
            .page(PageRequest::default())
            .await
            .unwrap()
            .sessions
            .is_empty()
    );
    let changed = other.sessions.change(now, number(1)).await;
    assert!(
        matches!(changed, Err(Error::Store(StoreError::NotFound))),
        "{changed:?}"
    );

    redis.command(&["DEL", &kept[1]]).await;
    redis.command(&["COPY", &copy(&kept[0]), &kept[0]]).await;
    assert!(
        other.sessions.get(former, STRONG).await.unwrap().is_none(),
        "the rotation was undone too"
    );
}

/// Rule W3 where INFO is refused: any lost connection may have been a failover.
#[tokio::test]
async fn without_info_ends_are_repeated_after_every_lost_connection() {
    let acl = Acl {
        rules: "~* &* +@all -info".to_owned(),
        ..Acl::all_rights("app", "secret")
    };
    let redis = SingleRedis::start(ServerOptions {
        acl: Some(acl),
        ..ServerOptions::default()
    })
    .await;
    let proxy = ChaosProxy::start(redis.address());
    let prefix = unique_prefix();
    let pod = Pod::over_redis(format!("redis://app:secret@{}", proxy.address()), &prefix, memory()).await;
    let id = pod.create(None).await;
    let session = format!("{prefix}:{{{}}}:s:{id}", &id.to_string()[..2]);
    redis.command(&["COPY", &session, "copy"]).await;
    pod.sessions.redo_ends().await;
    pod.sessions.end(id, false).await.unwrap();
    redis.command(&["COPY", "copy", &session]).await;
    pod.sessions.redo_ends().await;
    assert!(
        redis.ask::<bool>(&["EXISTS", &session]).await,
        "nothing tells of a failover yet"
    );
    proxy.cut_all();
    eventually(SOON, "the end to be repeated", async || {
        pod.sessions.redo_ends().await;
        !redis.ask::<bool>(&["EXISTS", &session]).await
    })
    .await;
}

/// A log-in whose anonymous session keeps changing gives up, and leaves that session as it is.
#[tokio::test]
async fn a_contended_log_in_ends_nothing() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let proxy = ChaosProxy::start(redis.address());
    let prefix = unique_prefix();
    let pod = Pod::over_redis(url(proxy.address()), &prefix, memory()).await;
    let other = Pod::over_redis(redis.url(), &prefix, memory()).await;
    let anonymous = pod.create(None).await;
    proxy.delay_replies(Duration::from_millis(20));
    let log_in = RotateRequest {
        user_id: Some(UserId::new("alice").unwrap()),
        ..RotateRequest::default()
    };
    let changing = async {
        for n in 1.. {
            other.sessions.change(anonymous, number(n)).await.unwrap();
            sleep(Duration::from_millis(2)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = pod.sessions.rotate(anonymous, log_in) => outcome,
        () = changing => unreachable!("it changes for ever"),
    };
    assert!(matches!(outcome, Err(Error::Contended)), "{outcome:?}");
    assert!(pod.sessions.get(anonymous, STRONG).await.unwrap().is_some());
}
