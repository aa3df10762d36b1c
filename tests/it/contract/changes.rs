use cloakroom::session::{JsonMap, MAX_ACTIVITIES, SecurityChange, Timestamp};
use cloakroom::store::{Change, Increment, StoreError};

use super::fixture::{Fixture, MAX_BYTES, increment, item, json, key, operation, server, set, texts, unset};

pub(crate) async fn a_change_merges_by_key_and_raises_the_version(f: &Fixture) {
    let id = f.make_one().await;
    f.set(id, "a", "1").await.unwrap();
    f.set(id, "b", "[2]").await.unwrap();
    let change = Change {
        data: [(key("a"), None), (key("c"), Some(json("{}")))].into(),
        metadata: [("ip".to_owned(), Some(json("\"::1\"")))].into(),
        roles: Some(vec!["admin".to_owned()]),
        permissions: Some(vec!["all".to_owned()]),
        security: SecurityChange {
            login_attempts: Some(3),
            suspicious: Some(true),
            last_password_change: Some(Some(Timestamp::from_millis(1_000))),
        },
        if_match: Some(vec![3]),
    };
    let answered = f.store.change(id, change, MAX_BYTES, operation()).await.unwrap();
    for session in [answered.session, f.found(id).await.session] {
        assert_eq!(session.version, 4);
        assert_eq!(texts(&session.data), [("b", "[2]"), ("c", "{}")]);
        assert_eq!(session.data_bytes, 7);
        assert_eq!(texts(&session.metadata), [("ip", "\"::1\"")]);
        assert_eq!(
            (session.roles.as_slice(), session.permissions.as_slice()),
            (&["admin".to_owned()][..], &["all".to_owned()][..])
        );
        assert_eq!(session.security.login_attempts, 3);
        assert!(session.security.suspicious);
        assert_eq!(
            session.security.last_password_change,
            Some(Timestamp::from_millis(1_000))
        );
    }
    let change = Change {
        metadata: [("ip".to_owned(), None)].into(),
        security: SecurityChange {
            last_password_change: Some(None),
            ..SecurityChange::default()
        },
        ..Change::default()
    };
    let after = f
        .store
        .change(id, change, MAX_BYTES, operation())
        .await
        .unwrap()
        .session;
    assert!(after.metadata.is_empty());
    assert_eq!(after.security.last_password_change, None);
    assert_eq!(after.security.login_attempts, 3, "what is not named stays");
    assert_eq!(after.roles, ["admin"]);
}

pub(crate) async fn removing_what_is_not_there_changes_nothing(f: &Fixture) {
    let id = f.make_one().await;
    let mut events = f.store.events().await.unwrap();
    let after = f
        .store
        .change(id, unset("nothing"), MAX_BYTES, operation())
        .await
        .unwrap();
    assert_eq!(after.session.version, 1);
    let after = f
        .store
        .change(id, Change::default(), MAX_BYTES, operation())
        .await
        .unwrap();
    assert_eq!(after.session.version, 1);
    f.set(id, "a", "1").await.unwrap();
    assert_eq!(events.recv().await.unwrap().version, Some(2), "no event before");
}

pub(crate) async fn a_conflict_changes_nothing(f: &Fixture) {
    let id = f.make_one().await;
    f.set(id, "a", "1").await.unwrap();
    let conditional = |versions: &[u64]| Change {
        if_match: Some(versions.to_vec()),
        ..set("a", "2")
    };
    for versions in [&[][..], &[1], &[3, 1]] {
        let outcome = f.store.change(id, conditional(versions), MAX_BYTES, operation()).await;
        assert!(
            matches!(outcome, Err(StoreError::Conflict { current: 2 })),
            "{outcome:?}"
        );
    }
    let session = f.found(id).await.session;
    assert_eq!((session.version, texts(&session.data)), (2, vec![("a", "1")]));
    let after = f
        .store
        .change(id, conditional(&[7, 2]), MAX_BYTES, operation())
        .await
        .unwrap();
    assert_eq!(after.session.version, 3);
}

pub(crate) async fn what_is_too_large_changes_nothing(f: &Fixture) {
    let id = f.make_one().await;
    f.set(id, "a", "1").await.unwrap();
    // "a" and "1" take 2 bytes, "b" and "22" 3 more: 5 fit, 4 do not.
    let outcome = f.store.change(id, set("b", "22"), 4, operation()).await;
    assert!(
        matches!(outcome, Err(StoreError::TooLarge { bytes: 5, limit: 4 })),
        "{outcome:?}"
    );
    let narrow = Increment {
        max_bytes: 4,
        ..increment("b", "22")
    };
    let outcome = f.store.increment(id, narrow).await;
    assert!(
        matches!(outcome, Err(StoreError::TooLarge { bytes: 5, limit: 4 })),
        "{outcome:?}"
    );
    let outcome = f.store.add_to_cart(id, item("p", 1), 20, operation()).await;
    assert!(
        matches!(outcome, Err(StoreError::TooLarge { limit: 20, .. })),
        "{outcome:?}"
    );
    let session = f.found(id).await.session;
    assert_eq!((session.version, texts(&session.data)), (2, vec![("a", "1")]));
    assert_eq!(session.data_bytes, 2);
    let after = f.store.change(id, set("b", "22"), 5, operation()).await.unwrap();
    assert_eq!(after.session.data_bytes, 5);
    let after = f.store.change(id, set("b", "3"), 5, operation()).await.unwrap();
    assert_eq!(after.session.data_bytes, 4, "a value that is replaced weighs no more");
}

pub(crate) async fn numbers_are_added_exactly(f: &Fixture) {
    let id = f.make_one().await;
    let add = |by: &'static str| f.store.increment(id, increment("n", by));
    assert_eq!(add("5").await.unwrap().as_i64(), Some(5), "a missing key counts as 0");
    assert_eq!(add("-7").await.unwrap().as_i64(), Some(-2));
    let session = f.found(id).await.session;
    assert_eq!((session.version, texts(&session.data)), (3, vec![("n", "-2")]));
    assert_eq!(session.data_bytes, 3);
    assert_eq!(
        add("9007199254740993").await.unwrap().as_i64(),
        Some(9_007_199_254_740_991)
    );
    assert_eq!(add("2").await.unwrap().as_i64(), Some(9_007_199_254_740_993));
    assert_eq!(f.found(id).await.session.data["n"].get(), "9007199254740993");

    f.set(id, "n", "9223372036854775806").await.unwrap();
    assert_eq!(add("1").await.unwrap().as_i64(), Some(i64::MAX));
    assert!(matches!(add("1").await, Err(StoreError::NotANumber)), "an overflow");
    assert_eq!(f.found(id).await.session.data["n"].get(), "9223372036854775807");
    f.set(id, "n", "-9223372036854775807").await.unwrap();
    assert_eq!(add("-1").await.unwrap().as_i64(), Some(i64::MIN));
    assert!(matches!(add("-1").await, Err(StoreError::NotANumber)), "an overflow");

    f.set(id, "n", "1.5").await.unwrap();
    assert_eq!(add("2.25").await.unwrap().as_f64(), Some(3.75));
    assert_eq!(add("1").await.unwrap().as_f64(), Some(4.75));
    assert_eq!(f.found(id).await.session.data["n"].get(), "4.75");
}

pub(crate) async fn what_is_no_number_is_not_incremented(f: &Fixture) {
    let id = f.make_one().await;
    for text in ["\"1\"", "[1]", "{}", "null", "true", "12345678901234567890123"] {
        let before = f.set(id, "n", text).await.unwrap().session.version;
        let outcome = f.store.increment(id, increment("n", "1")).await;
        assert!(matches!(outcome, Err(StoreError::NotANumber)), "{text}: {outcome:?}");
        let session = f.found(id).await.session;
        assert_eq!((session.version, session.data["n"].get()), (before, text));
    }
}

pub(crate) async fn the_cart_adds_up(f: &Fixture) {
    let id = f.make_one().await;
    let add =
        |product: &'static str, quantity| f.store.add_to_cart(id, item(product, quantity), MAX_BYTES, operation());
    assert_eq!(add("tea", 2).await.unwrap(), [item("tea", 2)]);
    assert_eq!(add("a \"cup\" \\ 🍵", 1).await.unwrap().len(), 2);
    let cart = add("tea", 3).await.unwrap();
    assert_eq!(cart, [item("tea", 5), item("a \"cup\" \\ 🍵", 1)]);
    let session = f.found(id).await.session;
    assert_eq!(session.version, 4);
    let stored: Vec<cloakroom::session::CartItem> = serde_json::from_str(session.data["cart"].get()).unwrap();
    assert_eq!(stored, cart);
    assert_eq!(session.data_bytes, cloakroom::session::data_bytes(&session.data));
    let most = cloakroom::session::CartItem::MAX_QUANTITY;
    assert_eq!(add("tea", most).await.unwrap()[0].quantity, most);
}

pub(crate) async fn what_is_no_cart_takes_no_line(f: &Fixture) {
    let id = f.make_one().await;
    let wrong = [
        "{}",
        "1",
        "\"[]\"",
        "[1]",
        r#"[{"product_id":"a"}]"#,
        r#"[{"product_id":1,"quantity":1}]"#,
        r#"[{"product_id":"a","quantity":-1}]"#,
        r#"[{"product_id":"a","quantity":1,"note":"x"}]"#,
    ];
    for text in wrong {
        f.set(id, "cart", text).await.unwrap();
        let outcome = f.store.add_to_cart(id, item("p", 1), MAX_BYTES, operation()).await;
        assert!(matches!(outcome, Err(StoreError::NotACart)), "{text}: {outcome:?}");
        assert_eq!(f.found(id).await.session.data["cart"].get(), text);
    }
    f.set(id, "cart", "[]").await.unwrap();
    assert_eq!(
        f.store
            .add_to_cart(id, item("p", 1), MAX_BYTES, operation())
            .await
            .unwrap(),
        [item("p", 1)]
    );
}

pub(crate) async fn a_migration_moves_the_home(f: &Fixture) {
    let id = f.make_one().await;
    let same = f.store.migrate(id, server("pod-0")).await.unwrap().session;
    assert_eq!((same.version, same.migrations), (1, 0), "it is there already");
    let moved = f.store.migrate(id, server("pod-1")).await.unwrap();
    for session in [&moved.session, &f.found(id).await.session] {
        assert_eq!(session.server_id.as_str(), "pod-1");
        assert_eq!(session.previous_server_id, Some(server("pod-0")));
        assert_eq!((session.version, session.migrations), (2, 1));
        assert_eq!(session.migrated_at, Some(moved.now));
    }
    let counts = f.store.count(id.bucket()).await.unwrap();
    assert_eq!(counts.by_server, [("pod-1".to_owned(), 1)].into());
}

pub(crate) async fn activities_come_newest_first_and_at_most_a_hundred(f: &Fixture) {
    let id = f.make_one().await;
    assert!(f.store.activities(id).await.unwrap().is_empty());
    for n in 0..MAX_ACTIVITIES + 5 {
        let metadata: JsonMap = [("n".to_owned(), json(&format!("{n}.0")))].into();
        f.store
            .record_activity(id, format!("step {n}"), metadata, operation())
            .await
            .unwrap();
    }
    let activities = f.store.activities(id).await.unwrap();
    assert_eq!(activities.len(), MAX_ACTIVITIES);
    for (n, activity) in (5..MAX_ACTIVITIES + 5).rev().zip(&activities) {
        assert_eq!(activity.action, format!("step {n}"));
        assert_eq!(activity.metadata["n"].get(), format!("{n}.0"));
    }
    let session = f.found(id).await.session;
    assert_eq!(session.version, 1, "an activity is no change");
    let rotated = f.rotate(id).await;
    assert_eq!(
        f.store.activities(rotated).await.unwrap().len(),
        MAX_ACTIVITIES,
        "they follow the session"
    );
}
