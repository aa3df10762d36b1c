use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloakroom::session::{Bucket, SessionId, UserId};
use cloakroom::store::{Filter, LimitPolicy, NewSession, SessionStore, UserLimit};

use super::fixture::anonymous_session;
use super::fixture::fresh_user;
use super::fixture::{
    Fixture, MAX_BYTES, class, fresh_id, increment, item, operation, rotation, server, set, touch, unset,
};

const USERS: usize = 5;
const STEPS: usize = 400;

/// A small generator whose steps can be repeated by their seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// What should be there.
struct Model {
    users: Vec<UserId>,
    live: BTreeMap<SessionId, Option<UserId>>,
    retired: Vec<SessionId>,
}

impl Model {
    fn pick(&self, dice: &mut Dice) -> Option<SessionId> {
        let count = self.live.len();
        (count > 0).then(|| *self.live.keys().nth(dice.below(count)).unwrap())
    }

    fn of_user(&self, user: &UserId) -> Vec<SessionId> {
        let of_user = self.live.iter().filter(|(_, owner)| owner.as_ref() == Some(user));
        of_user.map(|(id, _)| *id).collect()
    }

    fn end(&mut self, ids: &[SessionId]) {
        for id in ids {
            self.live.remove(id);
            self.retired.push(*id);
        }
    }
}

pub(crate) async fn indexes_and_counts_agree_after_every_step(f: &Fixture) {
    for seed in [1, 2_025] {
        let mut dice = Dice(seed);
        let mut model = Model {
            users: (0..USERS).map(|_| fresh_user()).collect(),
            live: BTreeMap::new(),
            retired: Vec::new(),
        };
        for n in 0..STEPS {
            let user = step(f, &mut model, &mut dice).await;
            assert_eq!(f.ids_of(&user).await, model.of_user(&user), "seed {seed}, step {n}");
        }
        for (id, user) in &model.live {
            assert_eq!(f.found(*id).await.session.user_id, *user, "seed {seed}");
        }
        for id in model.retired.iter().filter(|id| !model.live.contains_key(id)) {
            f.assert_missing(*id).await;
        }
        assert_counts_equal_a_full_scan(f.store.as_ref(), &model.live.keys().copied().collect()).await;
        let mut left = BTreeSet::new();
        for bucket in Bucket::all() {
            f.store.end_bucket(bucket, None, 1_000).await.unwrap();
            left.extend(
                f.store
                    .page(bucket, None, 1_000, &Filter::default())
                    .await
                    .unwrap()
                    .iter()
                    .map(|s| s.session.id),
            );
        }
        assert!(left.is_empty());
    }
}

/// Does something at random and keeps the model in step; gives the user whose index is to be looked at.
async fn step(f: &Fixture, model: &mut Model, dice: &mut Dice) -> UserId {
    let user = model.users[dice.below(USERS)].clone();
    let kind = dice.below(14);
    if kind < 4 || model.live.is_empty() {
        create(f, model, dice, &user).await;
        return user;
    }
    let id = model.pick(dice).unwrap();
    let store = &f.store;
    match kind {
        4 => drop(store.change(id, set("a", "1"), MAX_BYTES, operation()).await.unwrap()),
        5 => drop(store.change(id, unset("a"), MAX_BYTES, operation()).await.unwrap()),
        6 => drop(store.increment(id, increment("n", "1")).await.unwrap()),
        7 => drop(
            store
                .add_to_cart(id, item("p", 1), MAX_BYTES, operation())
                .await
                .unwrap(),
        ),
        8 => drop(store.touch(touch(id)).await.unwrap()),
        9 => drop(
            store
                .migrate(id, server(&format!("pod-{}", dice.below(3))))
                .await
                .unwrap(),
        ),
        10 => rotate(f, model, dice, id).await,
        11 => drop(store.confirm(id, Duration::from_hours(1)).await.unwrap()),
        12 => {
            let ended = f.end(id).await;
            assert_eq!(ended.sessions, [id]);
            model.end(&ended.sessions);
        }
        _ => {
            let kept = (dice.below(2) == 0).then_some(id);
            let ended = store.end_user(&user, kept, false, operation()).await.unwrap();
            model.end(&ended.sessions);
        }
    }
    user
}

async fn create(f: &Fixture, model: &mut Model, dice: &mut Dice, user: &UserId) {
    let new = match dice.below(4) {
        0 => anonymous_session(),
        1 => f.new_session(user),
        _ => NewSession {
            limit: Some(UserLimit {
                max: 3,
                policy: [LimitPolicy::EndOldest, LimitPolicy::EndLeastRecentlyUsed][dice.below(2)],
            }),
            ..f.new_session(user)
        },
    };
    let new = NewSession {
        class: class(["normal", "sensitive", "temporary"][dice.below(3)]),
        server_id: server(&format!("pod-{}", dice.below(3))),
        ..new
    };
    let (id, owner) = (new.id, new.user_id.clone());
    let created = f.store.create(new, operation()).await.unwrap();
    let former: Vec<SessionId> = created.ended;
    model.end(&former);
    model.live.insert(id, owner);
}

async fn rotate(f: &Fixture, model: &mut Model, dice: &mut Dice, id: SessionId) {
    let new_id = fresh_id(id.bucket());
    let mut by = rotation(new_id);
    by.login = dice.below(3) == 0;
    f.store.rotate(id, by.clone(), operation()).await.unwrap();
    let owner = model.live.remove(&id).unwrap();
    model.live.insert(new_id, owner);
    if by.login {
        model.retired.push(id);
    }
}

/// Compares what every bucket counts with what its pages hold, and that with what should be there.
pub(crate) async fn assert_counts_equal_a_full_scan(store: &dyn SessionStore, expected: &BTreeSet<SessionId>) {
    let mut all = BTreeSet::new();
    for bucket in Bucket::all() {
        let counts = store.count(bucket).await.unwrap();
        let mut by_class: BTreeMap<String, u64> = BTreeMap::new();
        let mut by_server: BTreeMap<String, u64> = BTreeMap::new();
        let mut users = BTreeSet::new();
        for snapshot in store.page(bucket, None, 1_000, &Filter::default()).await.unwrap() {
            let session = &snapshot.session;
            *by_class.entry(session.class.to_string()).or_default() += 1;
            *by_server.entry(session.server_id.to_string()).or_default() += 1;
            users.extend(session.user_id.clone());
            all.insert(session.id);
        }
        assert_eq!(counts.by_class, by_class, "{bucket}");
        assert_eq!(counts.by_server, by_server, "{bucket}");
        assert_eq!(counts.users, users.len() as u64, "{bucket}");
    }
    assert_eq!(all, *expected);
}
