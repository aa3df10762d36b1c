use std::time::Duration;

use cloakroom::session::{Class, UserId, data_bytes};
use cloakroom::store::{NewSession, StoreError};

use super::fixture::anonymous_session;
use super::fixture::fresh_user;
use super::fixture::{Fixture, class, fresh_id, is_alive, json, operation, rotation, server, texts};

const PRINTABLE: [&str; 9] = [
    "a/b//c",
    "{a7}:s:x",
    "two  spaces ",
    "crab 🦀 ümlaut 漢字",
    "\"quoted\" 'twice'",
    "back\\slash\\n",
    "d:x",
    "*?[a-z]",
    "0",
];

pub(crate) async fn every_field_comes_back(f: &Fixture) {
    let user = fresh_user();
    let new = NewSession {
        class: class("sensitive"),
        timeouts: Class {
            idle: Duration::from_mins(15),
            absolute: Duration::from_hours(12),
        },
        data: [("theme".to_owned(), json("\"dark\"")), ("n".to_owned(), json("7"))].into(),
        roles: vec!["admin".to_owned(), "editor \"in chief\"".to_owned()],
        permissions: vec!["read:all".to_owned()],
        metadata: [("ip".to_owned(), json("\"203.0.113.9\""))].into(),
        fingerprint: Some("c0ffee".to_owned()),
        server_id: server("pod-7"),
        ..f.new_session(&user)
    };
    let id = new.id;
    let made = f.make(new).await;
    let read = f.found(id).await;
    for snapshot in [&made, &read] {
        let session = &snapshot.session;
        assert!(is_alive(snapshot));
        assert_eq!(session.id, id);
        assert_eq!(session.user_id.as_ref(), Some(&user));
        assert_eq!(session.class.as_str(), "sensitive");
        assert_eq!(session.roles, ["admin", "editor \"in chief\""]);
        assert_eq!(session.permissions, ["read:all"]);
        assert_eq!(texts(&session.data), [("n", "7"), ("theme", "\"dark\"")]);
        assert_eq!(session.data_bytes, data_bytes(&session.data));
        assert_eq!(texts(&session.metadata), [("ip", "\"203.0.113.9\"")]);
        assert_eq!(session.security.login_attempts, 0);
        assert!(!session.security.suspicious);
        assert_eq!(session.security.last_password_change, None);
        assert_eq!(session.created_at, made.now);
        assert_eq!(session.last_activity_at, made.now);
        assert_eq!(session.authenticated_at, Some(made.now));
        assert_eq!(session.expires_at, made.now.plus(Duration::from_mins(15)));
        assert_eq!(session.absolute_expires_at, made.now.plus(Duration::from_hours(12)));
        assert_eq!(session.idle, Duration::from_mins(15));
        assert_eq!(session.version, 1);
        assert_eq!(session.server_id.as_str(), "pod-7");
        assert_eq!((session.migrated_at, session.migrations), (None, 0));
        assert_eq!(session.previous_server_id, None);
        assert_eq!(session.fingerprint.as_deref(), Some("c0ffee"));
        assert!(!session.unconfirmed);
    }
    assert_eq!(f.ids_of(&user).await, [id]);
}

pub(crate) async fn names_of_every_printable_kind_come_back(f: &Fixture) {
    for name in PRINTABLE {
        let user = UserId::new(&format!("{name}{}", fresh_user().as_str())).unwrap();
        let quoted = serde_json::to_string(name).unwrap();
        let id = f
            .make(NewSession {
                data: [(name.to_owned(), json(&quoted))].into(),
                metadata: [(name.to_owned(), json(&quoted))].into(),
                ..f.new_session(&user)
            })
            .await
            .session
            .id;
        let second = format!("{name}+");
        f.set(id, &second, "2").await.unwrap();
        let session = f.found(id).await.session;
        assert_eq!(session.user_id.as_ref(), Some(&user));
        assert_eq!(
            texts(&session.data),
            [(name, quoted.as_str()), (second.as_str(), "2")],
            "{name}"
        );
        assert_eq!(texts(&session.metadata), [(name, quoted.as_str())]);
        assert_eq!(f.ids_of(&user).await, [id], "{name}");
        let removed = super::fixture::unset(name);
        let after = f
            .store
            .change(id, removed, super::fixture::MAX_BYTES, super::fixture::operation())
            .await
            .unwrap();
        assert_eq!(texts(&after.session.data), [(second.as_str(), "2")], "{name}");
    }
}

pub(crate) async fn json_is_kept_as_it_was_written(f: &Fixture) {
    let values = [
        "1.0",
        "[]",
        "{}",
        "12345678901234567890",
        "-0",
        "1e400",
        "null",
        r#""\u00e9\ud83e\udd80 \/""#,
        r#"{ "b": [ 1, {"a": 0.10} ], "a": "" }"#,
    ];
    let user = fresh_user();
    let data = values.iter().enumerate();
    let id = f
        .make(NewSession {
            data: data.clone().map(|(n, text)| (format!("made{n}"), json(text))).collect(),
            ..f.new_session(&user)
        })
        .await
        .session
        .id;
    for (n, text) in data {
        f.set(id, &format!("set{n}"), text).await.unwrap();
    }
    let session = f.found(id).await.session;
    for (n, text) in values.iter().enumerate() {
        assert_eq!(session.data[&format!("made{n}")].get(), *text);
        assert_eq!(session.data[&format!("set{n}")].get(), *text);
    }
    assert_eq!(session.data_bytes, data_bytes(&session.data));
}

pub(crate) async fn s03_an_unknown_id_is_missing_and_nothing_is_written_for_it(f: &Fixture) {
    let id = fresh_id(f.store.keyring().bucket_of(&fresh_user()));
    f.assert_missing(id).await;
    f.assert_unchangeable(id).await;
    let ended = f.end(id).await;
    assert_eq!((ended.sessions, ended.kin), (vec![], vec![]));
    f.assert_missing(id).await;
    let counts = f.store.count(id.bucket()).await.unwrap();
    assert_eq!((counts.by_class.len(), counts.by_server.len(), counts.users), (0, 0, 0));
    assert_eq!(counts.durations.count, 0);
}

/// Only a generator that repeats itself asks for that: nothing is made, and the
/// session that has the id is as it was.
pub(crate) async fn s10_s13_an_id_is_given_once(f: &Fixture) {
    let (alice, bob) = (fresh_user(), fresh_user());
    let hers = f
        .make(NewSession {
            data: [("secret".to_owned(), json("1"))].into(),
            ..f.new_session(&alice)
        })
        .await
        .session;
    let his = f.make(f.new_session(&bob)).await.session;
    let taken = |outcome: cloakroom::store::Result<()>| {
        assert!(matches!(outcome, Err(StoreError::Random(_))), "{outcome:?}");
    };
    let again = |id| NewSession {
        id,
        ..f.new_session(&bob)
    };
    taken(f.store.create(again(hers.id), operation()).await.map(drop));
    let newer = f.rotate(hers.id).await;
    // Neither the id of a session nor one that it had before.
    for id in [hers.id, newer] {
        taken(f.store.create(again(id), operation()).await.map(drop));
    }
    let sister = f.make(f.new_session(&alice)).await.session;
    taken(f.store.rotate(sister.id, rotation(newer), operation()).await.map(drop));
    taken(
        f.store
            .rotate(sister.id, rotation(hers.id), operation())
            .await
            .map(drop),
    );
    for id in [hers.id, newer] {
        let session = f.found(id).await.session;
        assert_eq!((session.id, session.user_id.as_ref()), (newer, Some(&alice)));
        assert_eq!(texts(&session.data), [("secret", "1")]);
    }
    assert_eq!(f.found(sister.id).await.session.version, 1);
    assert_eq!(f.ids_of(&bob).await, [his.id]);
}

pub(crate) async fn a_session_without_a_user_is_in_no_list(f: &Fixture) {
    let new = NewSession {
        authenticated: true,
        ..anonymous_session()
    };
    let made = f.make(new).await.session;
    let session = f.found(made.id).await.session;
    assert_eq!((session.user_id.as_ref(), session.authenticated_at), (None, None));
    let counts = f.store.count(made.id.bucket()).await.unwrap();
    assert_eq!(counts.users, 0);
    assert_eq!(counts.by_class["normal"], 1);
}
