use cloakroom::session::{Bucket, SessionId};
use cloakroom::store::{Filter, NewSession};

use super::fixture::anonymous_session;
use super::fixture::fresh_user;
use super::fixture::{Fixture, class, fresh_id, server, sorted};

const ALL: u32 = 1_000;

async fn page(f: &Fixture, bucket: Bucket, after: Option<SessionId>, limit: u32, filter: &Filter) -> Vec<SessionId> {
    let page = f.store.page(bucket, after, limit, filter).await.unwrap();
    page.iter().map(|snapshot| snapshot.session.id).collect()
}

/// Makes sessions of all kinds in one bucket: two users' and anonymous ones, of two classes, at two servers.
async fn fill(f: &Fixture) -> (Bucket, Vec<SessionId>) {
    let user = fresh_user();
    let bucket = f.store.keyring().bucket_of(&user);
    let mut ids = Vec::new();
    for n in 0..12 {
        let new = NewSession {
            class: class(if n % 2 == 0 { "normal" } else { "sensitive" }),
            server_id: server(if n % 3 == 0 { "pod-0" } else { "pod-1" }),
            ..if n < 6 {
                f.new_session(&user)
            } else {
                anonymous_session()
            }
        };
        let new = NewSession {
            id: fresh_id(bucket),
            ..new
        };
        ids.push(f.make(new).await.session.id);
    }
    (bucket, ids)
}

pub(crate) async fn pages_hold_each_session_once_in_one_order(f: &Fixture) {
    let (bucket, ids) = fill(f).await;
    let order = page(f, bucket, None, ALL, &Filter::default()).await;
    assert_eq!(sorted(order.clone()), sorted(ids));
    for (n, id) in order.iter().enumerate() {
        let rest = page(f, bucket, Some(*id), ALL, &Filter::default()).await;
        assert_eq!(rest, order[n + 1..]);
        let few = page(f, bucket, Some(*id), 2, &Filter::default()).await;
        assert_eq!(few, order[n + 1..][..few.len()]);
        assert_eq!(few.len(), (order.len() - n - 1).min(2));
    }
    f.end(order[4]).await;
    let rest = page(f, bucket, Some(order[4]), ALL, &Filter::default()).await;
    assert_eq!(rest, order[5..], "a page goes on after a session that has ended");
}

pub(crate) async fn a_filter_lets_through_only_what_it_names(f: &Fixture) {
    let (bucket, ids) = fill(f).await;
    let expected = |wanted: &dyn Fn(usize) -> bool| {
        let wanted = ids.iter().enumerate().filter(|(n, _)| wanted(*n));
        sorted(wanted.map(|(_, id)| *id).collect())
    };
    let sensitive = Filter {
        class: Some(class("sensitive")),
        server_id: None,
    };
    let at_pod_0 = Filter {
        class: None,
        server_id: Some(server("pod-0")),
    };
    let both = Filter {
        class: Some(class("sensitive")),
        server_id: Some(server("pod-0")),
    };
    assert_eq!(
        sorted(page(f, bucket, None, ALL, &sensitive).await),
        expected(&|n| n % 2 == 1)
    );
    assert_eq!(
        sorted(page(f, bucket, None, ALL, &at_pod_0).await),
        expected(&|n| n % 3 == 0)
    );
    assert_eq!(
        sorted(page(f, bucket, None, ALL, &both).await),
        expected(&|n| n % 6 == 3)
    );
    let one = page(f, bucket, None, 1, &both).await;
    let next = page(f, bucket, Some(one[0]), 1, &both).await;
    assert_eq!(
        sorted([one, next].concat()),
        expected(&|n| n % 6 == 3),
        "the limit counts what is let through"
    );
}

pub(crate) async fn counts_tell_classes_servers_and_users(f: &Fixture) {
    let (bucket, ids) = fill(f).await;
    let counts = f.store.count(bucket).await.unwrap();
    assert_eq!(
        counts.by_class,
        [("normal".to_owned(), 6), ("sensitive".to_owned(), 6)].into()
    );
    assert_eq!(
        counts.by_server,
        [("pod-0".to_owned(), 4), ("pod-1".to_owned(), 8)].into()
    );
    assert_eq!((counts.users, counts.durations.count), (1, 0));
    for id in &ids[..6] {
        f.end(*id).await;
    }
    let counts = f.store.count(bucket).await.unwrap();
    assert_eq!(
        counts.by_class,
        [("normal".to_owned(), 3), ("sensitive".to_owned(), 3)].into()
    );
    assert_eq!((counts.users, counts.durations.count), (0, 6));
}
