use std::time::Duration;

use cloakroom::store::{End, StoreError, Touch};

use super::fixture::fresh_user;
use super::fixture::{Fixture, class, fresh_id, logout, operation, sorted, texts, touch};

pub(crate) async fn s21_nothing_brings_an_ended_session_back(f: &Fixture) {
    let user = fresh_user();
    let old = f.make(f.new_session(&user)).await.session.id;
    let id = f.rotate(old).await;
    assert_eq!(f.end(id).await.sessions, [id]);
    for gone in [id, old] {
        f.assert_missing(gone).await;
        f.assert_unchangeable(gone).await;
        f.assert_missing(gone).await;
    }
    let late = Touch {
        age: Duration::from_secs(1),
        ..touch(id)
    };
    assert!(matches!(f.store.touch(late).await, Err(StoreError::NotFound)));
    assert!(f.end(id).await.sessions.is_empty(), "it ends once");
    assert!(f.ids_of(&user).await.is_empty());
    let counts = f.store.count(id.bucket()).await.unwrap();
    assert_eq!((counts.by_class.len(), counts.users, counts.durations.count), (0, 0, 1));
}

pub(crate) async fn an_end_can_be_conditional_on_the_version(f: &Fixture) {
    let id = f.make_one().await;
    f.set(id, "a", "1").await.unwrap();
    let end_at = |version| End {
        if_version: Some(version),
        ..logout()
    };
    let outcome = f.store.end(id, end_at(1)).await;
    assert!(
        matches!(outcome, Err(StoreError::Conflict { current: 2 })),
        "{outcome:?}"
    );
    assert_eq!(f.found(id).await.session.version, 2);
    assert_eq!(f.store.end(id, end_at(2)).await.unwrap().sessions, [id]);
    assert!(f.store.end(id, end_at(2)).await.unwrap().sessions.is_empty());
}

pub(crate) async fn an_end_by_a_former_id_ends_the_session(f: &Fixture) {
    let old = f.make_one().await;
    let id = f.rotate(old).await;
    let ended = f.end(old).await;
    assert_eq!((ended.sessions, ended.kin), (vec![id], vec![old]));
    f.assert_missing(id).await;
}

pub(crate) async fn s25_a_user_ends_everywhere_but_here(f: &Fixture) {
    let (user, other) = (fresh_user(), fresh_user());
    let here_before = f.make(f.new_session(&user)).await.session.id;
    let here = f.rotate(here_before).await;
    let mut elsewhere = Vec::new();
    for _ in 0..3 {
        elsewhere.push(f.make(f.new_session(&user)).await.session.id);
    }
    let others = f.make(f.new_session(&other)).await.session.id;
    let ended = f
        .store
        .end_user(&user, Some(here_before), false, operation())
        .await
        .unwrap();
    assert_eq!(sorted(ended.sessions), sorted(elsewhere.clone()));
    assert_eq!(f.ids_of(&user).await, [here]);
    for id in elsewhere {
        f.assert_missing(id).await;
    }
    let ended = f.store.end_user(&user, None, false, operation()).await.unwrap();
    assert_eq!((ended.sessions, ended.kin), (vec![here], vec![here_before]));
    assert!(f.ids_of(&user).await.is_empty());
    assert_eq!(f.ids_of(&other).await, [others]);
    let nobody = f.store.end_user(&fresh_user(), None, false, operation()).await.unwrap();
    assert!(nobody.sessions.is_empty());
}

pub(crate) async fn a_late_touch_does_not_survive_an_end_of_all(f: &Fixture) {
    let user = fresh_user();
    let idle = Duration::from_secs(1);
    let id = f
        .make(f.short_session(&user, idle, Duration::from_mins(5)))
        .await
        .session
        .id;
    f.advance(idle).await;
    let ended = f.store.end_user(&user, None, false, operation()).await.unwrap();
    assert!(ended.sessions.is_empty(), "it had ended already");
    let used_in_time = Touch {
        age: Duration::from_millis(600),
        ..touch(id)
    };
    let outcome = f.store.touch(used_in_time).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
}

pub(crate) async fn a_bucket_ends_in_steps(f: &Fixture) {
    let user = fresh_user();
    let bucket = f.store.keyring().bucket_of(&user);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(f.make(f.new_session(&user)).await.session.id);
    }
    let elsewhere = f.make_one().await;
    let mut ended = Vec::new();
    loop {
        let step = f.store.end_bucket(bucket, None, 2).await.unwrap();
        assert!(step.ended.sessions.len() <= 2);
        ended.extend(step.ended.sessions);
        if !step.more {
            break;
        }
    }
    if elsewhere.bucket() == bucket {
        ids.push(elsewhere);
    }
    assert_eq!(sorted(ended), sorted(ids));
    assert!(f.ids_of(&user).await.is_empty());
    let counts = f.store.count(bucket).await.unwrap();
    assert_eq!((counts.by_class.len(), counts.by_server.len(), counts.users), (0, 0, 0));
}

pub(crate) async fn only_what_was_made_before_ends(f: &Fixture) {
    let user = fresh_user();
    let old = f.make(f.new_session(&user)).await;
    f.advance(Duration::from_millis(20)).await;
    let mut newer = f.new_session(&user);
    newer.class = class("sensitive");
    newer.id = fresh_id(old.session.id.bucket());
    let newer = f.make(newer).await.session.id;
    let step = f
        .store
        .end_bucket(old.session.id.bucket(), Some(old.now), 10)
        .await
        .unwrap();
    assert_eq!((step.ended.sessions, step.more), (vec![old.session.id], false));
    assert_eq!(f.ids_of(&user).await, [newer]);
}

pub(crate) async fn t22_a_log_out_is_among_its_users_activities(f: &Fixture) {
    let (user, other) = (fresh_user(), fresh_user());
    let told = async |user: &cloakroom::session::UserId| {
        let activities = f.store.user_activities(user).await.unwrap();
        let told = activities.iter().map(|one| (one.action.clone(), noted(&one.metadata)));
        told.collect::<Vec<_>>()
    };
    assert!(told(&user).await.is_empty());
    let make = async |user| f.make(f.new_session(user)).await.session.id;
    let (first, second, third) = (make(&user).await, make(&user).await, make(&user).await);
    let others = make(&other).await;
    f.end(first).await;
    let logout = ("logout".to_owned(), format!("session_id=\"{first}\""));
    assert_eq!(told(&user).await, std::slice::from_ref(&logout));
    f.end(first).await;
    assert_eq!(told(&user).await.len(), 1, "it ended once");
    let once = operation();
    for _ in 0..2 {
        f.store.end_user(&user, Some(third), false, once).await.unwrap();
    }
    let ended = ("ended".to_owned(), format!("reason=\"user\" session_id=\"{second}\""));
    assert_eq!(told(&user).await, [ended, logout], "newest first");
    assert!(told(&other).await.is_empty(), "each user has their own");
    f.end(others).await;
    for _ in 0..cloakroom::session::MAX_ACTIVITIES {
        f.end(make(&user).await).await;
    }
    let told = told(&user).await;
    assert_eq!(told.len(), cloakroom::session::MAX_ACTIVITIES, "the newest are kept");
    assert!(told.iter().all(|(action, _)| action == "logout"));
}

/// Metadata as one text.
fn noted(metadata: &cloakroom::session::JsonMap) -> String {
    let pairs: Vec<_> = texts(metadata)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}
