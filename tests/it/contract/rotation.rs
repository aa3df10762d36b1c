use std::time::Duration;

use cloakroom::session::{Class, SessionId};
use cloakroom::store::{EventKind, Lookup, NewSession, Rotation, StoreError};

use super::events::next;
use super::fixture::fresh_user;
use super::fixture::{Fixture, class, fresh_id, json, key, operation, rotation, sorted, texts};

const GRACE: Duration = Duration::from_millis(500);

async fn assert_replayed(f: &Fixture, id: SessionId, current: SessionId) {
    match f.store.get(id).await.unwrap() {
        Lookup::Replayed { current: found } => assert_eq!(found, current),
        other => panic!("{id} should be a replay, not {other:?}"),
    }
}

pub(crate) async fn a_rotation_keeps_the_session_and_leaves_an_alias(f: &Fixture) {
    let user = fresh_user();
    let made = f
        .make(NewSession {
            data: [("a".to_owned(), json("1")), ("b".to_owned(), json("2"))].into(),
            authenticated: false,
            ..f.new_session(&user)
        })
        .await;
    let old = made.session.id;
    let mut events = f.store.events().await.unwrap();
    f.advance(Duration::from_millis(20)).await;
    let new = fresh_id(old.bucket());
    let rotated = f.store.rotate(old, rotation(new), operation()).await.unwrap().snapshot;
    for session in [rotated.session, f.found(new).await.session, f.found(old).await.session] {
        assert_eq!(session.id, new, "an alias leads to the session under its new id");
        assert_eq!((session.version, session.unconfirmed), (2, true));
        assert_eq!(session.created_at, made.session.created_at);
        assert_eq!(session.last_activity_at, made.session.last_activity_at);
        assert_eq!(session.expires_at, made.session.expires_at);
        assert_eq!(session.absolute_expires_at, made.session.absolute_expires_at);
        assert_eq!(session.authenticated_at, None);
        assert_eq!(texts(&session.data), [("a", "1"), ("b", "2")]);
    }
    let event = next(&mut events).await;
    assert_eq!((event.kind, event.version), (EventKind::Rotated, Some(2)));
    assert_eq!((event.session_id, event.previous_id), (new, Some(old)));
    assert_eq!(f.ids_of(&user).await, [new]);

    let newest = fresh_id(old.bucket());
    let more = Rotation {
        keep: Some(vec![key("b"), key("unknown")]),
        roles: Some(vec!["admin".to_owned()]),
        permissions: Some(vec!["all".to_owned()]),
        authenticated: true,
        ..rotation(newest)
    };
    let rotated = f.store.rotate(new, more, operation()).await.unwrap().snapshot;
    assert_eq!(texts(&rotated.session.data), [("b", "2")]);
    assert_eq!(rotated.session.data_bytes, 2);
    assert_eq!(
        (
            rotated.session.roles[0].as_str(),
            rotated.session.permissions[0].as_str()
        ),
        ("admin", "all")
    );
    assert_eq!(rotated.session.authenticated_at, Some(rotated.now));
}

pub(crate) async fn a_chain_of_aliases_leads_to_the_session(f: &Fixture) {
    let user = fresh_user();
    let first = f.make(f.new_session(&user)).await.session.id;
    let mut ids = vec![first];
    for _ in 0..3 {
        ids.push(f.rotate(first).await);
    }
    let current = ids[3];
    for id in &ids {
        assert_eq!(f.found(*id).await.session.id, current);
    }
    assert_eq!(f.set(first, "a", "1").await.unwrap().session.id, current);
    assert_eq!(
        f.store.touch(super::fixture::touch(ids[1])).await.unwrap().session.id,
        current
    );
    assert_eq!(f.ids_of(&user).await, [current]);
}

pub(crate) async fn s12_a_retired_id_is_a_replay_once_its_grace_is_over(f: &Fixture) {
    let first = f.make_one().await;
    let second = f.rotate(first).await;
    f.store.confirm(second, GRACE).await.unwrap();
    let third = f.rotate(second).await;
    f.store.confirm(third, Duration::from_mins(5)).await.unwrap();
    assert_eq!(f.found(first).await.session.id, third, "its grace lasts");
    f.advance(GRACE).await;
    assert_replayed(f, first, third).await;
    assert_eq!(
        f.found(second).await.session.id,
        third,
        "the grace of another lasts longer"
    );
    let version = f.found(third).await.session.version;
    f.assert_unchangeable(first).await;
    assert!(f.end(first).await.sessions.is_empty());
    assert_eq!(f.found(third).await.session.version, version);
    f.end(third).await;
    for id in [first, second, third] {
        f.assert_missing(id).await;
    }
}

pub(crate) async fn a_confirmation_counts_once(f: &Fixture) {
    let old = f.make_one().await;
    let new = f.rotate(old).await;
    let mut events = f.store.events().await.unwrap();
    let confirmed = f.store.confirm(new, GRACE).await.unwrap().session;
    assert_eq!((confirmed.version, confirmed.unconfirmed), (3, false));
    let again = f.store.confirm(new, Duration::from_hours(1)).await.unwrap().session;
    assert_eq!((again.version, again.unconfirmed), (3, false));
    f.set(new, "a", "1").await.unwrap();
    for version in [3, 4] {
        let event = next(&mut events).await;
        assert_eq!((event.kind, event.version), (EventKind::Changed, Some(version)));
    }
    f.advance(GRACE).await;
    assert_replayed(f, old, new).await;
    let never_rotated = f.make_one().await;
    assert_eq!(f.store.confirm(never_rotated, GRACE).await.unwrap().session.version, 1);
}

pub(crate) async fn a_former_id_confirms_nothing(f: &Fixture) {
    let old = f.make_one().await;
    let new = f.rotate(old).await;
    assert!(f.store.confirm(old, Duration::ZERO).await.unwrap().session.unconfirmed);
    assert!(
        f.found(new).await.session.unconfirmed,
        "the new token has not been used"
    );
    assert_eq!(f.found(old).await.session.id, new);
}

pub(crate) async fn s08_s09_a_log_in_leaves_no_alias_and_no_data(f: &Fixture) {
    let user = fresh_user();
    let made = f
        .make(NewSession {
            data: [("a".to_owned(), json("1"))].into(),
            ..f.new_session(&user)
        })
        .await;
    let before = made.session.id;
    let old = f.rotate(before).await;
    f.advance(Duration::from_millis(20)).await;
    let new = fresh_id(old.bucket());
    let login = Rotation {
        login: true,
        authenticated: true,
        ..rotation(new)
    };
    let rotated = f.store.rotate(old, login, operation()).await.unwrap().snapshot;
    let session = rotated.session;
    assert_eq!((session.version, session.unconfirmed), (3, false));
    assert_eq!(
        (session.created_at, session.last_activity_at),
        (rotated.now, rotated.now)
    );
    assert_eq!(session.expires_at, rotated.now.plus(Duration::from_hours(24)));
    assert_eq!(
        session.absolute_expires_at,
        rotated.now.plus(Duration::from_hours(7 * 24))
    );
    assert_eq!(session.authenticated_at, Some(rotated.now));
    assert!(session.data.is_empty());
    assert_eq!(session.data_bytes, 0);
    f.assert_missing(old).await;
    f.assert_missing(before).await;
    f.assert_unchangeable(old).await;
    assert_eq!(f.ids_of(&user).await, [new]);
}

pub(crate) async fn a_log_in_keeps_what_it_is_told_to(f: &Fixture) {
    let made = f
        .make(NewSession {
            data: [("a".to_owned(), json("1")), ("cart".to_owned(), json("[]"))].into(),
            ..f.new_session(&fresh_user())
        })
        .await;
    let login = Rotation {
        login: true,
        keep: Some(vec![key("cart")]),
        ..rotation(fresh_id(made.session.id.bucket()))
    };
    let rotated = f
        .store
        .rotate(made.session.id, login, operation())
        .await
        .unwrap()
        .snapshot;
    assert_eq!(texts(&rotated.session.data), [("cart", "[]")]);
    assert_eq!(rotated.session.data_bytes, 6);
}

pub(crate) async fn a_new_class_starts_new_deadlines(f: &Fixture) {
    let made = f.make(f.new_session(&fresh_user())).await;
    f.advance(Duration::from_millis(20)).await;
    let timeouts = Class {
        idle: Duration::from_mins(15),
        absolute: Duration::from_hours(12),
    };
    let raised = Rotation {
        class: Some((class("sensitive"), timeouts)),
        ..rotation(fresh_id(made.session.id.bucket()))
    };
    let rotated = f
        .store
        .rotate(made.session.id, raised, operation())
        .await
        .unwrap()
        .snapshot;
    let session = rotated.session;
    assert_eq!((session.class.as_str(), session.idle), ("sensitive", timeouts.idle));
    assert_eq!(session.created_at, made.now);
    assert_eq!(session.expires_at, rotated.now.plus(timeouts.idle));
    assert_eq!(session.absolute_expires_at, rotated.now.plus(timeouts.absolute));
    assert!(session.unconfirmed);
    assert_eq!(f.found(made.session.id).await.session.id, session.id);
    let counts = f.store.count(session.id.bucket()).await.unwrap();
    assert_eq!(counts.by_class, [("sensitive".to_owned(), 1)].into());
}

pub(crate) async fn former_ids_are_told_at_the_end(f: &Fixture) {
    let user = fresh_user();
    let before_login = fresh_id(f.store.keyring().bucket_of(&user));
    let first = f
        .make(NewSession {
            kin: vec![before_login],
            ..f.new_session(&user)
        })
        .await
        .session
        .id;
    let second = f.rotate(first).await;
    let third = f.rotate(second).await;
    let ended = f.end(third).await;
    assert_eq!(ended.sessions, [third]);
    assert_eq!(sorted(ended.kin), sorted(vec![before_login, first, second]));

    let mut ids = vec![f.make_one().await];
    for _ in 0..10 {
        ids.push(f.rotate(ids[ids.len() - 1]).await);
    }
    let ended = f.end(ids[10]).await;
    assert_eq!(sorted(ended.kin), sorted(ids[2..10].to_vec()), "the newest eight");
    let gone = f
        .store
        .rotate(ids[10], rotation(fresh_id(ids[10].bucket())), operation())
        .await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
}
