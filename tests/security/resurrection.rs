//! S21: nothing brings a session back that has ended: a request that was under way is stopped at each of its awaits, the
//! session is ended by another server, and the request goes on.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use cloakroom::session::{CartItem, SessionId, UserId};
use cloakroom::sessions::{ClientTraits, CreateRequest, Error, Freshness, Presented, RotateRequest, Validation};
use cloakroom::store::StoreError;

use crate::pod::{FROM_MEMORY, Pod, STRONG, key, memory, number};
use crate::support::fleet::Fleet;
use crate::support::redis_cluster::shared_cluster;
use crate::support::unique_prefix;

/// More awaits than any operation has.
const MOST_AWAITS: usize = 60;

/// Tells that a future wants to be polled again.
#[derive(Default)]
struct Woken(AtomicBool, tokio::sync::Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        self.1.notify_one();
    }
}

/// Polls a future at most `polls` times, whenever it wakes, then runs `meanwhile`, and then the rest of the future.
/// Gives its outcome, and whether it was stopped on its way.
async fn stopped_after<T>(
    polls: usize,
    future: impl Future<Output = T>,
    meanwhile: impl Future<Output = ()>,
) -> (T, bool) {
    let mut future = pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..polls {
        woken.0.store(false, Ordering::SeqCst);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(outcome) = polled {
            meanwhile.await;
            return (outcome, false);
        }
        while !woken.0.load(Ordering::SeqCst) {
            woken.1.notified().await;
        }
    }
    meanwhile.await;
    (future.await, true)
}

/// What a request under way may be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Read,
    Validate,
    ConfirmARotation,
    Touch,
    Save,
    Increment,
    AddToCart,
    Migrate,
    RecordActivity,
    Rotate,
    Reauthenticate,
    LogIn,
}

const ACTIONS: [Action; 12] = [
    Action::Read,
    Action::Validate,
    Action::ConfirmARotation,
    Action::Touch,
    Action::Save,
    Action::Increment,
    Action::AddToCart,
    Action::Migrate,
    Action::RecordActivity,
    Action::Rotate,
    Action::Reauthenticate,
    Action::LogIn,
];

/// A session, the token that opens it, and the pods that serve it.
struct Scene<'a> {
    active: &'a Pod,
    other: &'a Pod,
    id: SessionId,
    token: String,
}

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

impl<'a> Scene<'a> {
    async fn set(active: &'a Pod, other: &'a Pod, action: Action) -> Self {
        let request = CreateRequest {
            user_id: (action != Action::LogIn).then(alice),
            ..CreateRequest::default()
        };
        let mut made = active.sessions.create(request).await.unwrap();
        if action == Action::ConfirmARotation {
            let rotated = active.sessions.rotate(made.session.id, RotateRequest::default());
            made = rotated.await.unwrap();
        }
        let (id, token) = (made.session.id, made.token.expose());
        // Both hold it in memory, but for what reads: that must ask the store, and might take home what has ended.
        let reads = matches!(action, Action::Read | Action::Validate);
        for pod in [other, active].into_iter().take(if reads { 1 } else { 2 }) {
            pod.sessions.get(id, FROM_MEMORY).await.unwrap();
        }
        Self {
            active,
            other,
            id,
            token,
        }
    }

    /// Gives what a rotation made.
    async fn act(&self, action: Action) -> Result<Option<(SessionId, String)>, Error> {
        let sessions = &self.active.sessions;
        let rotation = |user_id| RotateRequest {
            user_id,
            authenticated: true,
            ..RotateRequest::default()
        };
        let issued = match action {
            Action::Read => sessions.get(self.id, FROM_MEMORY).await.map(|_| None)?,
            Action::Validate | Action::ConfirmARotation => {
                self.validate(self.active).await?;
                None
            }
            Action::Touch => sessions.touch(self.id).await.map(|_| None)?,
            Action::Save => sessions.change(self.id, number(7)).await.map(|_| None)?,
            Action::Increment => sessions.increment(self.id, key(), 1.into()).await.map(|_| None)?,
            Action::AddToCart => {
                let item = CartItem {
                    product_id: "tea".to_owned(),
                    quantity: 1,
                };
                sessions.add_to_cart(self.id, item).await.map(|_| None)?
            }
            Action::Migrate => sessions.migrate(self.id, "one").await.map(|_| None)?,
            Action::RecordActivity => {
                let recorded = sessions.record_activity(self.id, "look".to_owned(), [].into());
                recorded.await.map(|_| None)?
            }
            Action::Rotate => Some(sessions.rotate(self.id, rotation(None)).await?),
            Action::Reauthenticate | Action::LogIn => Some(sessions.rotate(self.id, rotation(Some(alice()))).await?),
        };
        Ok(issued.map(|issued| (issued.session.id, issued.token.expose())))
    }

    async fn validate(&self, pod: &Pod) -> Result<bool, Error> {
        is_valid(pod, &self.token).await
    }

    async fn end(&self) {
        self.other.sessions.end(self.id, false).await.unwrap();
    }
}

async fn is_valid(pod: &Pod, token: &str) -> Result<bool, Error> {
    let presented = Presented {
        token,
        csrf_token: None,
        client: ClientTraits::default(),
        touch: true,
        freshness: Freshness::default(),
    };
    let judged = pod.sessions.validate(presented).await?;
    Ok(matches!(judged, Validation::Valid(_)))
}

/// Stops an action after so many polls; gives whether it was still under way then.
async fn end_amid(active: &Pod, other: &Pod, action: Action, polls: usize) -> bool {
    let scene = Scene::set(active, other, action).await;
    let (outcome, was_stopped) = stopped_after(polls, scene.act(action), scene.end()).await;
    let what = format!("{action:?} stopped after {polls} polls");
    // A log-in that was through before the end of the session that it replaced goes on: that one was there no more.
    let kin = match outcome {
        Ok(issued) => issued,
        Err(Error::Store(StoreError::NotFound)) => None,
        Err(error) => panic!("{what}: {error}"),
    };
    active.sessions.flush_touches().await;
    let mut gone = vec![(scene.id, scene.token.clone())];
    if !matches!(action, Action::LogIn | Action::Reauthenticate) {
        gone.extend(kin);
    } else if let Some((id, _)) = kin {
        other.sessions.end(id, false).await.unwrap();
    }
    let lapsed = tokio::time::Instant::now() + crate::BOUND;
    for pod in [active, other] {
        for (id, token) in &gone {
            assert!(
                pod.sessions.get(*id, STRONG).await.unwrap().is_none(),
                "{what}: {id} is back in the store"
            );
            // Memory hears of it within the bound.
            while pod.sessions.get(*id, FROM_MEMORY).await.unwrap().is_some() {
                assert!(tokio::time::Instant::now() < lapsed, "{what}: {id} is back in memory");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(
                !is_valid(pod, token).await.unwrap(),
                "{what}: the token of {id} opens it"
            );
        }
    }
    let left = other.sessions.sessions_of(&alice()).await.unwrap();
    assert!(left.is_empty(), "{what}: alice has {left:?}");
    was_stopped
}

#[tokio::test]
async fn s21_no_request_under_way_brings_an_ended_session_back() {
    let cluster = shared_cluster().await;
    let prefix = unique_prefix();
    let url = cluster.urls()[0].clone();
    let active = Pod::over_redis(url.clone(), &prefix, memory()).await;
    let other = Pod::over_redis(url, &prefix, memory()).await;
    for action in ACTIONS {
        let mut awaits = 0;
        while end_amid(&active, &other, action, awaits).await {
            awaits += 1;
            assert!(awaits < MOST_AWAITS, "{action:?} never comes to an end");
        }
        eprintln!("{action:?}: stopped at {awaits} awaits");
        // Before its first step, and while it waits for Redis.
        assert!(awaits >= 2, "{action:?} was stopped at {awaits} awaits only");
    }
    drop((active, other));
    let keys = cluster.keys(&format!("{prefix}:*:s:*")).await;
    assert_eq!(keys, [""; 0]);
}

/// The same with whole processes: touches that wait to be recorded are written after the log-out.
#[tokio::test]
async fn s21_touches_that_are_written_late_revive_nothing() {
    let cluster = shared_cluster().await;
    // Every use is recorded a tenth of the idle time after the last.
    let fleet = Fleet::start(
        cluster,
        &[
            ("session.classes.normal.idle", "10s"),
            ("session.classes.normal.absolute", "1m"),
        ],
    )
    .await;
    for round in 0..4 {
        let (path, token) = fleet.at(round).create(serde_json::json!({"user_id": "alice"})).await;
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        for replica in &fleet.replicas {
            replica.as_browser("/auth", &token).await.expect(200);
        }
        fleet.at(round).delete(&path).await.expect(204);
        fleet
            .all_show("the end", async |replica| {
                replica.as_browser("/auth", &token).await.status == 401
            })
            .await;
    }
    // Every replica has written what it had when it has drained.
    let audit = fleet.finish(cluster).await;
    assert_eq!((audit.sessions, audit.users), (0, 0));
}
