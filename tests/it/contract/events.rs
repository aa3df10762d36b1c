use std::time::Duration;

use cloakroom::session::{Bucket, Timestamp};
use cloakroom::store::{End, EndReason, Event, EventId, EventKind};
use tokio::sync::mpsc;

use super::fixture::fresh_user;
use super::fixture::{Fixture, increment, item, logout, operation, server};

/// The next event, which must come soon.
pub(crate) async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(10), events.recv())
        .await
        .expect("an event should come")
        .expect("the listener should keep up")
}

pub(crate) async fn each_change_is_told_once_and_in_order(f: &Fixture) {
    let mut events = f.store.events().await.unwrap();
    let mut second_listener = f.store.events().await.unwrap();
    let user = fresh_user();
    let made = f.make(f.new_session(&user)).await;
    let id = made.session.id;
    f.set(id, "a", "1").await.unwrap();
    f.store.increment(id, increment("n", "1")).await.unwrap();
    f.store.add_to_cart(id, item("p", 1), 1_000, operation()).await.unwrap();
    f.store.migrate(id, server("pod-1")).await.unwrap();
    let rotated = f.rotate(id).await;
    f.end(rotated).await;
    let expected = [
        (EventKind::Created, id, Some(1)),
        (EventKind::Changed, id, Some(2)),
        (EventKind::Changed, id, Some(3)),
        (EventKind::Changed, id, Some(4)),
        (EventKind::Migrated, id, Some(5)),
        (EventKind::Rotated, rotated, Some(6)),
        (EventKind::Destroyed, rotated, None),
    ];
    let mut last: Option<EventId> = None;
    for (kind, session_id, version) in expected {
        let event = next(&mut events).await;
        assert_eq!((event.kind, event.session_id), (kind, session_id));
        if version.is_some() {
            assert_eq!(event.version, version);
        }
        assert_eq!(event.user_id.as_ref(), Some(&user));
        assert_eq!(event.class, "normal");
        assert_eq!(event.id.bucket, id.bucket());
        assert!(last.is_none_or(|last| event.id > last), "ids rise");
        last = Some(event.id);
        assert_eq!(next(&mut second_listener).await.id, event.id);
    }
}

pub(crate) async fn ends_tell_their_reason(f: &Fixture) {
    for reason in [EndReason::Logout, EndReason::Login, EndReason::Theft] {
        let id = f.make_one().await;
        let mut events = f.store.events().await.unwrap();
        f.store.end(id, End { reason, ..logout() }).await.unwrap();
        let event = next(&mut events).await;
        assert_eq!((event.kind, event.reason), (reason.event(), Some(reason)));
        assert!(event.duration_seconds.is_some());
    }
    let user = fresh_user();
    f.make(f.new_session(&user)).await;
    let mut events = f.store.events().await.unwrap();
    f.store.end_user(&user, None, false, operation()).await.unwrap();
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.reason), (EventKind::Revoked, Some(EndReason::User)));
    let id = f.make_one().await;
    f.store.end_bucket(id.bucket(), None, 100).await.unwrap();
    assert_eq!(next(&mut events).await.kind, EventKind::Created);
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.reason), (EventKind::Revoked, Some(EndReason::All)));
}

fn beginning(bucket: Bucket) -> EventId {
    EventId {
        at: Timestamp::from_millis(0),
        sequence: 0,
        bucket,
    }
}

pub(crate) async fn a_listener_resumes_where_it_stopped(f: &Fixture) {
    let mut events = f.store.events().await.unwrap();
    let id = f.make_one().await;
    for n in 0..5 {
        f.set(id, "n", &n.to_string()).await.unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..6 {
        told.push(next(&mut events).await);
    }
    let all = f.store.events_since(id.bucket(), beginning(id.bucket())).await.unwrap();
    assert!(!all.trimmed);
    let ids = |events: &[Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
    assert_eq!(ids(&all.events), ids(&told));
    for (n, event) in told.iter().enumerate() {
        let since = f.store.events_since(id.bucket(), event.id).await.unwrap();
        assert_eq!(ids(&since.events), ids(&told[n + 1..]));
        assert!(!since.trimmed);
    }
    let kept = &all.events[3];
    assert_eq!(
        (kept.kind, kept.session_id, kept.version),
        (EventKind::Changed, id, Some(4))
    );
    assert_eq!((kept.at, kept.user_id.clone()), (told[3].at, told[3].user_id.clone()));
}

pub(crate) async fn what_was_trimmed_is_said(f: &Fixture) {
    let mut events = f.store.events().await.unwrap();
    let id = f.make_one().await;
    let made = next(&mut events).await.id;
    for n in 0..300 {
        f.set(id, "n", &n.to_string()).await.unwrap();
    }
    let replay = f.store.events_since(id.bucket(), made).await.unwrap();
    assert!(replay.trimmed, "the stream is short");
    assert!(replay.events.len() >= 64, "but holds this many");
    assert_eq!(replay.events.last().and_then(|event| event.version), Some(301));
    let oldest = replay.events[0].id;
    let rest = f.store.events_since(id.bucket(), oldest).await.unwrap();
    assert!(!rest.trimmed, "nothing newer than the oldest one held is missing");
    assert_eq!(rest.events.len(), replay.events.len() - 1);
}

pub(crate) async fn the_lineage_is_known(f: &Fixture) {
    f.store.ping().await.unwrap();
    let lineage = f.store.lineage().await.unwrap();
    assert!(Bucket::all().all(|bucket| lineage.of(bucket).is_some()));
    assert_eq!(f.store.lineage().await.unwrap(), lineage);
}
