use std::time::Duration;

use cloakroom::store::{EndReason, EventKind, Filter, StoreError, Touch};

use super::events::next;
use super::fixture::fresh_user;
use super::fixture::{Fixture, is_alive, server, sorted, touch};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_mins(10);

pub(crate) async fn an_idle_session_expires(f: &Fixture) {
    let user = fresh_user();
    let id = f.make(f.short_session(&user, SHORT, LONG)).await.session.id;
    assert!(is_alive(&f.found(id).await));
    f.advance(SHORT).await;
    let read = f.found(id).await;
    assert!(!is_alive(&read), "it is found, but not alive");
    assert!(read.now >= read.session.expires_at);
    assert!(f.ids_of(&user).await.is_empty());
    assert!(
        f.store
            .page(id.bucket(), None, 9, &Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn a_touch_slides_the_deadline(f: &Fixture) {
    let idle = Duration::from_millis(800);
    let id = f.make(f.short_session(&fresh_user(), idle, LONG)).await.session.id;
    f.advance(idle / 2).await;
    let touched = f.store.touch(touch(id)).await.unwrap();
    assert_eq!(touched.session.last_activity_at, touched.now);
    assert_eq!(touched.session.expires_at, touched.now.plus(idle));
    f.advance(idle / 2 + Duration::from_millis(100)).await;
    assert!(is_alive(&f.found(id).await), "it would have expired without the touch");
    let step = f.store.sweep(id.bucket(), 10).await.unwrap();
    assert_eq!(step.ended.sessions, [], "the sweep goes by the new deadline");
    assert_eq!(f.store.count(id.bucket()).await.unwrap().by_class["normal"], 1);
    let all = f.store.touch_all(vec![touch(id), touch(id)]).await;
    assert!(matches!(all[..], [Ok(true), Ok(true)]), "{all:?}");
    f.advance(idle).await;
    assert!(!is_alive(&f.found(id).await));
}

pub(crate) async fn s15_a_touch_cannot_pass_the_absolute_deadline(f: &Fixture) {
    let absolute = Duration::from_millis(900);
    let made = f
        .make(f.short_session(&fresh_user(), Duration::from_millis(800), absolute))
        .await;
    let id = made.session.id;
    f.advance(absolute / 2).await;
    let touched = f.store.touch(touch(id)).await.unwrap().session;
    assert_eq!(touched.expires_at, made.now.plus(absolute));
    assert_eq!(touched.absolute_expires_at, made.now.plus(absolute));
    f.advance(absolute / 2).await;
    assert!(!is_alive(&f.found(id).await));
    assert!(matches!(f.store.touch(touch(id)).await, Err(StoreError::NotFound)));
}

pub(crate) async fn a_touch_changes_no_version_and_never_goes_back(f: &Fixture) {
    let made = f.make(f.new_session(&fresh_user())).await;
    let id = made.session.id;
    let mut events = f.store.events().await.unwrap();
    let late = Touch {
        age: Duration::from_hours(1),
        ..touch(id)
    };
    let touched = f.store.touch(late).await.unwrap().session;
    assert_eq!(
        touched.last_activity_at, made.now,
        "a use before the last one changes nothing"
    );
    assert_eq!(touched.expires_at, made.session.expires_at);
    assert_eq!(f.store.touch(touch(id)).await.unwrap().session.version, 1);
    f.set(id, "a", "1").await.unwrap();
    assert_eq!(next(&mut events).await.kind, EventKind::Changed, "a touch is no event");
}

pub(crate) async fn a_late_touch_tells_of_a_use_in_time(f: &Fixture) {
    let idle = Duration::from_secs(1);
    let made = f.make(f.short_session(&fresh_user(), idle, LONG)).await;
    let id = made.session.id;
    f.advance(Duration::from_millis(1_100)).await;
    assert!(!is_alive(&f.found(id).await));
    let age = Duration::from_millis(600);
    let touched = f.store.touch(Touch { age, ..touch(id) }).await.unwrap();
    assert_eq!(touched.session.last_activity_at, touched.now.minus(age));
    assert_eq!(touched.session.expires_at, touched.now.minus(age).plus(idle));
    assert!(is_alive(&f.found(id).await), "it was used before it expired");
    f.advance(idle).await;
    f.store.sweep(id.bucket(), 100).await.unwrap();
    let swept = f.store.touch(Touch { age, ..touch(id) }).await;
    assert!(
        matches!(swept, Err(StoreError::NotFound)),
        "what was swept has ended: {swept:?}"
    );
}

pub(crate) async fn a_touch_migrates_only_from_the_home_it_knew(f: &Fixture) {
    let id = f.make_one().await;
    let mut events = f.store.events().await.unwrap();
    let move_from = |from: &str| Touch {
        migrate: Some((server(from), server("pod-1"))),
        ..touch(id)
    };
    let stayed = f.store.touch(move_from("pod-9")).await.unwrap().session;
    assert_eq!((stayed.server_id.as_str(), stayed.version), ("pod-0", 1));
    let moved = f.store.touch(move_from("pod-0")).await.unwrap().session;
    assert_eq!(
        (moved.server_id.as_str(), moved.version, moved.migrations),
        ("pod-1", 2, 1)
    );
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.version), (EventKind::Migrated, Some(2)));
    assert_eq!(
        (event.server_id, event.previous_server_id),
        (Some(server("pod-1")), Some(server("pod-0")))
    );
    let counts = f.store.count(id.bucket()).await.unwrap();
    assert_eq!(counts.by_server, [("pod-1".to_owned(), 1)].into());
}

pub(crate) async fn s14_nothing_changes_an_expired_session(f: &Fixture) {
    let id = f.make(f.short_session(&fresh_user(), SHORT, LONG)).await.session.id;
    f.advance(SHORT).await;
    f.assert_unchangeable(id).await;
    let ended = f.end(id).await;
    assert!(ended.sessions.is_empty(), "it had ended already");
    f.assert_unchangeable(id).await;
    f.store.sweep(id.bucket(), 100).await.unwrap();
    f.assert_unchangeable(id).await;
    assert_eq!(f.found(id).await.session.version, 1);
}

pub(crate) async fn a_sweep_tells_of_each_expired_session_once(f: &Fixture) {
    let user = fresh_user();
    let mut due = Vec::new();
    for _ in 0..3 {
        due.push(f.make(f.short_session(&user, SHORT, LONG)).await.session.id);
    }
    let stays = f.make(f.new_session(&user)).await.session.id;
    let bucket = stays.bucket();
    let nothing = f.store.sweep(bucket, 2).await.unwrap();
    assert_eq!((nothing.ended.sessions.len(), nothing.more), (0, false));
    assert_eq!(nothing.behind, Duration::ZERO);
    let mut events = f.store.events().await.unwrap();
    f.advance(SHORT + Duration::from_millis(50)).await;

    let first = f.store.sweep(bucket, 2).await.unwrap();
    assert_eq!((first.ended.sessions.len(), first.more), (2, true));
    assert!(first.behind >= Duration::from_millis(50));
    let second = f.store.sweep(bucket, 2).await.unwrap();
    assert_eq!((second.ended.sessions.len(), second.more), (1, false));
    let third = f.store.sweep(bucket, 2).await.unwrap();
    assert_eq!((third.ended.sessions.len(), third.more), (0, false));
    let swept = [first.ended.sessions, second.ended.sessions].concat();
    assert_eq!(sorted(swept), sorted(due.clone()));

    f.set(stays, "a", "1").await.unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = next(&mut events).await;
        assert_eq!(
            (event.kind, event.reason),
            (EventKind::Expired, Some(EndReason::Expired))
        );
        assert_eq!(event.user_id.as_ref(), Some(&user));
        assert!(
            (event.duration_seconds.unwrap() - 0.3).abs() < 0.001,
            "from creation to deadline"
        );
        told.push(event.session_id);
    }
    assert_eq!(sorted(told), sorted(due));
    assert_eq!(next(&mut events).await.kind, EventKind::Changed, "each was told once");
    let counts = f.store.count(bucket).await.unwrap();
    assert_eq!(
        (counts.by_class["normal"], counts.users, counts.durations.count),
        (1, 1, 3)
    );
    assert_eq!(counts.durations.sum_millis, 900);
}
