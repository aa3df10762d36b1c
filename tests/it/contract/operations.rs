use cloakroom::session::JsonMap;
use cloakroom::store::{LimitPolicy, NewSession, StoreError, UserLimit};

use super::fixture::fresh_user;
use super::fixture::{Fixture, MAX_BYTES, fresh_id, increment, item, operation, rotation, set};

pub(crate) async fn s10_a_repeated_create_makes_one_session(f: &Fixture) {
    let user = fresh_user();
    let one = UserLimit {
        max: 1,
        policy: LimitPolicy::EndOldest,
    };
    let previous = f.make(f.new_session(&user)).await.session.id;
    let new = NewSession {
        limit: Some(one),
        ..f.new_session(&user)
    };
    let again = operation();
    let first = f.store.create(new.clone(), again).await.unwrap();
    assert_eq!(first.ended, [previous]);
    f.set(new.id, "a", "1").await.unwrap();
    let second = f.store.create(new.clone(), again).await.unwrap();
    assert_eq!(second.snapshot.session.id, new.id);
    assert_eq!(second.ended, [previous], "the same answer");
    let session = f.found(new.id).await.session;
    assert_eq!(
        (session.version, session.data["a"].get()),
        (2, "1"),
        "nothing was undone"
    );
    assert_eq!(f.ids_of(&user).await, [new.id]);
    let counts = f.store.count(new.id.bucket()).await.unwrap();
    assert_eq!((counts.by_class["normal"], counts.durations.count), (1, 1));
}

pub(crate) async fn a_repeated_create_does_not_undo_an_end(f: &Fixture) {
    let user = fresh_user();
    let new = f.new_session(&user);
    let again = operation();
    f.store.create(new.clone(), again).await.unwrap();
    f.end(new.id).await;
    let outcome = f.store.create(new.clone(), again).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    f.assert_missing(new.id).await;
    assert!(f.ids_of(&user).await.is_empty());
}

pub(crate) async fn a_repeated_change_counts_once(f: &Fixture) {
    let id = f.make_one().await;
    let again = operation();
    f.store.change(id, set("a", "1"), MAX_BYTES, again).await.unwrap();
    f.set(id, "a", "2").await.unwrap();
    f.store.change(id, set("a", "1"), MAX_BYTES, again).await.unwrap();
    let session = f.found(id).await.session;
    assert_eq!((session.version, session.data["a"].get()), (3, "2"));
    let conditional = cloakroom::store::Change {
        if_match: Some(vec![3]),
        ..set("b", "1")
    };
    let again = operation();
    for _ in 0..2 {
        let answer = f.store.change(id, conditional.clone(), MAX_BYTES, again).await.unwrap();
        assert_eq!(
            answer.session.version, 4,
            "a repeated change is no conflict with itself"
        );
    }
}

pub(crate) async fn a_repeated_increment_counts_once(f: &Fixture) {
    let id = f.make_one().await;
    let again = increment("n", "5");
    assert_eq!(f.store.increment(id, again.clone()).await.unwrap().as_i64(), Some(5));
    f.store.increment(id, increment("n", "1")).await.unwrap();
    assert_eq!(
        f.store.increment(id, again).await.unwrap().as_i64(),
        Some(5),
        "the same answer"
    );
    let session = f.found(id).await.session;
    assert_eq!((session.version, session.data["n"].get()), (3, "6"));
}

pub(crate) async fn a_repeated_cart_line_counts_once(f: &Fixture) {
    let id = f.make_one().await;
    let again = operation();
    for _ in 0..3 {
        let cart = f.store.add_to_cart(id, item("tea", 2), MAX_BYTES, again).await.unwrap();
        assert_eq!(cart, [item("tea", 2)]);
    }
    assert_eq!(f.found(id).await.session.version, 2);
}

pub(crate) async fn a_repeated_rotation_counts_once(f: &Fixture) {
    let old = f.make_one().await;
    let again = operation();
    let new = fresh_id(old.bucket());
    for _ in 0..2 {
        let rotated = f
            .store
            .rotate(old, rotation(new), again)
            .await
            .unwrap()
            .snapshot
            .session;
        assert_eq!((rotated.id, rotated.version), (new, 2));
    }
    assert_eq!(f.found(old).await.session.id, new);
    f.end(new).await;
    let outcome = f.store.rotate(old, rotation(new), again).await;
    assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    f.assert_missing(new).await;
}

pub(crate) async fn a_repeated_activity_counts_once(f: &Fixture) {
    let id = f.make_one().await;
    let again = operation();
    for _ in 0..3 {
        f.store
            .record_activity(id, "look".to_owned(), JsonMap::new(), again)
            .await
            .unwrap();
    }
    assert_eq!(f.store.activities(id).await.unwrap().len(), 1);
}

pub(crate) async fn a_repeated_end_of_all_spares_what_came_later(f: &Fixture) {
    let user = fresh_user();
    let before = f.make(f.new_session(&user)).await.session.id;
    let again = operation();
    f.store.end_user(&user, None, false, again).await.unwrap();
    let after = f.make(f.new_session(&user)).await.session.id;
    let repeated = f.store.end_user(&user, None, false, again).await.unwrap();
    assert_eq!(repeated.sessions, [before], "the same answer");
    assert_eq!(f.ids_of(&user).await, [after]);
}
