use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::{SessionId, UserId};
use cloakroom::store::{EndReason, EventKind, LimitPolicy, NewSession, StoreError, Touch, UserLimit};

use super::events::next;
use super::fixture::fresh_user;
use super::fixture::{Fixture, operation, sorted, touch};

fn limited(new: NewSession, max: u32, policy: LimitPolicy) -> NewSession {
    NewSession {
        limit: Some(UserLimit { max, policy }),
        ..new
    }
}

/// Makes sessions of a user, each some time after the one before.
async fn make_apart(f: &Fixture, user: &UserId, count: usize) -> Vec<SessionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(f.make(f.new_session(user)).await.session.id);
        f.advance(Duration::from_millis(10)).await;
    }
    ids
}

pub(crate) async fn one_more_is_refused(f: &Fixture) {
    let user = fresh_user();
    let ids = make_apart(f, &user, 2).await;
    let new = limited(f.new_session(&user), 2, LimitPolicy::Refuse);
    let outcome = f.store.create(new.clone(), operation()).await;
    assert!(
        matches!(outcome, Err(StoreError::TooManySessions { limit: 2 })),
        "{outcome:?}"
    );
    f.assert_missing(new.id).await;
    assert_eq!(f.ids_of(&user).await, sorted(ids.clone()));
    f.end(ids[0]).await;
    f.store.create(new, operation()).await.unwrap();
    let others = limited(f.new_session(&fresh_user()), 1, LimitPolicy::Refuse);
    f.store.create(others, operation()).await.unwrap();
}

pub(crate) async fn the_oldest_makes_room(f: &Fixture) {
    let user = fresh_user();
    let ids = make_apart(f, &user, 4).await;
    f.store.touch(touch(ids[0])).await.unwrap();
    let new = limited(f.new_session(&user), 3, LimitPolicy::EndOldest);
    let mut events = f.store.events().await.unwrap();
    let created = f.store.create(new.clone(), operation()).await.unwrap();
    assert_eq!(sorted(created.ended), sorted(ids[..2].to_vec()), "as many as needed");
    assert_eq!(f.ids_of(&user).await, sorted(vec![ids[2], ids[3], new.id]));
    for id in &ids[..2] {
        let event = next(&mut events).await;
        assert_eq!((event.kind, event.reason), (EventKind::Revoked, Some(EndReason::Limit)));
        assert_eq!(event.session_id, *id, "the oldest first");
    }
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.session_id), (EventKind::Created, new.id));
}

pub(crate) async fn the_least_recently_used_makes_room(f: &Fixture) {
    let user = fresh_user();
    let ids = make_apart(f, &user, 3).await;
    f.store.touch(touch(ids[0])).await.unwrap();
    let rotated = f.rotate(ids[1]).await;
    let new = limited(f.new_session(&user), 3, LimitPolicy::EndLeastRecentlyUsed);
    let created = f.store.create(new.clone(), operation()).await.unwrap();
    assert_eq!(
        sorted(created.ended),
        sorted(vec![rotated, ids[1]]),
        "with its former id"
    );
    assert_eq!(f.ids_of(&user).await, sorted(vec![ids[0], ids[2], new.id]));
}

pub(crate) async fn an_expired_session_takes_no_room(f: &Fixture) {
    let user = fresh_user();
    let idle = Duration::from_secs(1);
    let short = f.short_session(&user, idle, Duration::from_mins(5));
    let expired = f.make(short).await.session.id;
    f.advance(idle).await;
    let new = limited(f.new_session(&user), 1, LimitPolicy::Refuse);
    let created = f.store.create(new.clone(), operation()).await.unwrap();
    assert!(created.ended.is_empty());
    assert_eq!(f.ids_of(&user).await, [new.id]);
    f.assert_unchangeable(expired).await;
    let used_in_time = Touch {
        age: Duration::from_millis(600),
        ..touch(expired)
    };
    let outcome = f.store.touch(used_in_time).await;
    assert!(
        matches!(outcome, Err(StoreError::NotFound)),
        "it would be one too many: {outcome:?}"
    );
}

pub(crate) async fn the_limit_holds_under_concurrent_creates_when_refusing(f: &Fixture) {
    let (made, refused) = hundred_creates(f, LimitPolicy::Refuse).await;
    assert_eq!((made, refused), (5, 95));
}

pub(crate) async fn the_limit_holds_under_concurrent_creates_when_ending_the_oldest(f: &Fixture) {
    let (made, refused) = hundred_creates(f, LimitPolicy::EndOldest).await;
    assert_eq!((made, refused), (100, 0));
}

pub(crate) async fn the_limit_holds_under_concurrent_creates_when_ending_the_least_recently_used(f: &Fixture) {
    let (made, refused) = hundred_creates(f, LimitPolicy::EndLeastRecentlyUsed).await;
    assert_eq!((made, refused), (100, 0));
}

/// Makes a hundred sessions at once where five are allowed; how many were made and how many refused.
async fn hundred_creates(f: &Fixture, policy: LimitPolicy) -> (usize, usize) {
    let user = fresh_user();
    let creates: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&f.store);
            let new = limited(f.new_session(&user), 5, policy);
            tokio::spawn(async move { store.create(new, operation()).await })
        })
        .collect();
    let (mut made, mut refused, mut ended) = (Vec::new(), 0, Vec::new());
    for attempt in creates {
        match attempt.await.unwrap() {
            Ok(new) => {
                made.push(new.snapshot.session.id);
                ended.extend(new.ended);
            }
            Err(StoreError::TooManySessions { limit: 5 }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let live = f.ids_of(&user).await;
    assert_eq!(live.len(), 5);
    assert_eq!(
        sorted([live, ended].concat()),
        sorted(made.clone()),
        "each ended once or lives"
    );
    (made.len(), refused)
}
