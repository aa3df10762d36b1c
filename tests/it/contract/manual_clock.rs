use std::collections::BTreeSet;
use std::time::Duration;

use cloakroom::session::JsonMap;
use cloakroom::store::{Lookup, StoreError};

use super::fixture::fresh_user;
use super::fixture::{Fixture, MAX_BYTES, is_alive, operation, set, touch};
use super::random_walk::assert_counts_equal_a_full_scan;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A millisecond less.
fn just_before(duration: Duration) -> Duration {
    duration.saturating_sub(MILLISECOND)
}
const MINUTE: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_mins(5);

pub(crate) async fn s14_deadlines_are_exact_to_the_millisecond(f: &Fixture) {
    let user = fresh_user();
    let made = f.make(f.short_session(&user, 10 * MINUTE, 15 * MINUTE)).await;
    let id = made.session.id;
    f.advance(just_before(10 * MINUTE)).await;
    assert!(is_alive(&f.found(id).await));
    f.set(id, "a", "1").await.unwrap();
    let touched = f.store.touch(touch(id)).await.unwrap().session;
    assert_eq!(
        touched.expires_at,
        made.now.plus(15 * MINUTE),
        "the absolute deadline is nearer"
    );
    f.advance(5 * MINUTE).await;
    assert!(is_alive(&f.found(id).await));
    assert_eq!(f.ids_of(&user).await, [id]);
    f.advance(MILLISECOND).await;
    assert!(!is_alive(&f.found(id).await));
    assert!(f.ids_of(&user).await.is_empty());
    f.assert_unchangeable(id).await;
}

pub(crate) async fn an_expired_session_is_found_until_its_grace_is_over(f: &Fixture) {
    for swept in [false, true] {
        let id = f.make(f.short_session(&fresh_user(), MINUTE, MINUTE)).await.session.id;
        f.advance(MINUTE).await;
        if swept {
            assert_eq!(f.store.sweep(id.bucket(), 10).await.unwrap().ended.sessions, [id]);
        }
        f.advance(just_before(GRACE)).await;
        assert!(!is_alive(&f.found(id).await));
        f.advance(MILLISECOND).await;
        f.assert_missing(id).await;
        let late = f.store.sweep(id.bucket(), 10).await.unwrap();
        assert_eq!(late.ended.sessions.len(), usize::from(!swept));
        f.assert_missing(id).await;
        let counts = f.store.count(id.bucket()).await.unwrap();
        assert_eq!((counts.by_class.len(), counts.users), (0, 0));
    }
}

pub(crate) async fn an_operation_is_remembered_for_half_a_minute(f: &Fixture) {
    let id = f.make_one().await;
    let again = operation();
    f.store.change(id, set("a", "1"), MAX_BYTES, again).await.unwrap();
    f.advance(just_before(Duration::from_secs(30))).await;
    let repeated = f.store.change(id, set("a", "1"), MAX_BYTES, again).await.unwrap();
    assert_eq!(repeated.session.version, 2);
    f.advance(MILLISECOND).await;
    let forgotten = f.store.change(id, set("a", "1"), MAX_BYTES, again).await.unwrap();
    assert_eq!(forgotten.session.version, 3);
}

pub(crate) async fn aliases_outlive_the_session_s_absolute_deadline_by_its_grace(f: &Fixture) {
    let old = f
        .make(f.short_session(&fresh_user(), MINUTE, 2 * MINUTE))
        .await
        .session
        .id;
    let new = f.rotate(old).await;
    for _ in 0..2 {
        f.advance(Duration::from_secs(40)).await;
        f.store.touch(touch(new)).await.unwrap();
    }
    f.advance(just_before(Duration::from_secs(40))).await;
    assert!(is_alive(&f.found(old).await));
    f.advance(GRACE).await;
    assert!(!is_alive(&f.found(old).await));
    f.advance(MILLISECOND).await;
    f.assert_missing(old).await;
    f.assert_missing(new).await;
}

pub(crate) async fn activities_are_forgotten_after_a_day(f: &Fixture) {
    let day = Duration::from_hours(24);
    let id = f
        .make(f.short_session(&fresh_user(), 7 * day, 7 * day))
        .await
        .session
        .id;
    for action in ["first", "second"] {
        f.store
            .record_activity(id, action.to_owned(), JsonMap::new(), operation())
            .await
            .unwrap();
        f.advance(just_before(day)).await;
    }
    assert_eq!(
        f.store.activities(id).await.unwrap().len(),
        2,
        "the last one keeps those before it"
    );
    f.advance(MILLISECOND).await;
    assert!(f.store.activities(id).await.unwrap().is_empty());
    f.store
        .record_activity(id, "third".to_owned(), JsonMap::new(), operation())
        .await
        .unwrap();
    assert_eq!(f.store.activities(id).await.unwrap().len(), 1);
}

pub(crate) async fn durations_cover_today_and_yesterday(f: &Fixture) {
    let day = Duration::from_hours(24);
    let id = f.make_one().await;
    f.advance(MINUTE).await;
    f.end(id).await;
    let durations = f.store.count(id.bucket()).await.unwrap().durations;
    assert_eq!((durations.count, durations.sum_millis), (1, 60_000));
    f.advance(day).await;
    assert_eq!(f.store.count(id.bucket()).await.unwrap().durations.count, 1);
    f.advance(day).await;
    assert_eq!(f.store.count(id.bucket()).await.unwrap().durations.count, 0);
}

pub(crate) async fn counts_stay_exact_while_sessions_expire(f: &Fixture) {
    let user = fresh_user();
    let mut ids = Vec::new();
    for n in 1..=20 {
        ids.push(f.make(f.short_session(&user, n * MINUTE, n * MINUTE)).await.session.id);
    }
    for n in 0..20 {
        let live: BTreeSet<_> = ids[n..].iter().copied().collect();
        assert_counts_equal_a_full_scan(f.store.as_ref(), &live).await;
        f.advance(MINUTE).await;
        if n % 3 == 0 {
            f.store.sweep(ids[0].bucket(), 1).await.unwrap();
        }
    }
    assert_counts_equal_a_full_scan(f.store.as_ref(), &BTreeSet::new()).await;
    assert_eq!(f.store.count(ids[0].bucket()).await.unwrap().durations.count, 20);
    let gone = f.store.get(ids[0]).await.unwrap();
    assert!(matches!(gone, Lookup::Missing), "{gone:?}");
    let outcome = f.set(ids[19], "a", "1").await;
    assert!(matches!(outcome, Err(StoreError::NotFound)));
}
