//! S14 to S19: how long a session lasts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cloakroom::cluster::View;
use cloakroom::config::{Config, FlagValue, Sources};
use cloakroom::session::{Class, ClassName, Classes, Clock, Monotonic, ServerId, SystemClock, SystemRandom, Timestamp};
use cloakroom::sessions::{
    Binding, CacheSettings, ClientTraits, CreateRequest, Freshness, InvalidReason, MigrationPolicy, Parts, Presented,
    Sessions, Settings, Validation,
};
use cloakroom::store::redis::RedisStore;
use cloakroom::telemetry::Metrics;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cookie;
use crate::pod::memory;
use crate::support::api::{Api, Setup, path_of};
use crate::support::redis_cluster::shared_cluster;
use crate::support::store::{connect, redis_options};
use crate::support::wait::{SOON, eventually};

/// Name, idle and absolute timeout of the classes that every deployment has.
const CLASSES: [(&str, Duration, Duration); 4] = [
    (
        "remember_me",
        Duration::from_hours(30 * 24),
        Duration::from_hours(90 * 24),
    ),
    ("normal", Duration::from_hours(24), Duration::from_hours(7 * 24)),
    ("sensitive", Duration::from_mins(15), Duration::from_hours(12)),
    ("temporary", Duration::from_mins(5), Duration::from_hours(1)),
];

const MILLISECOND: Duration = Duration::from_millis(1);

/// An API whose memory answers, and keeps what it holds however far the clock is moved.
fn with_memory() -> Api {
    Api::with(Setup {
        fed: true,
        cache: Some(CacheSettings {
            max_age: Duration::from_hours(1_000 * 24),
            ..memory()
        }),
        ..Setup::default()
    })
}

#[tokio::test]
async fn s14_an_idle_session_ends_at_its_millisecond_in_every_class() {
    for (class, idle, _) in CLASSES {
        let api = Api::new();
        let made = api.create(json!({"user_id": "alice", "class": class})).await;
        let token = made["token"].as_str().unwrap();
        let asks = async |path: &str| api.call("GET", path, &[("cookie", &cookie(token))], "").await;
        api.clock.advance(idle.saturating_sub(MILLISECOND));
        api.get(&path_of(&made)).await.expect(200);
        api.clock.advance(MILLISECOND);
        asks("/session").await.problem(401, "session_expired");
        asks("/auth").await.problem(401, "session_expired");
        api.get(&path_of(&made)).await.problem(404, "session_not_found");
        let judged = api
            .post("/v1/sessions/validate", json!({"token": token}))
            .await
            .expect(200);
        assert_eq!(judged, json!({"valid": false, "reason": "session_expired"}), "{class}");
    }
}

#[tokio::test]
async fn s15_no_use_passes_the_absolute_deadline() {
    for (class, idle, absolute) in CLASSES {
        let api = Api::new();
        let made = api.create(json!({"user_id": "alice", "class": class})).await;
        let path = path_of(&made);
        let deadline = made["session"]["absolute_expires_at"].clone();
        let mut left = absolute;
        while left > idle {
            let step = idle.saturating_sub(MILLISECOND);
            api.clock.advance(step);
            left -= step;
            let touched = api.post(&format!("{path}/touch"), json!({})).await.expect(200);
            assert_eq!(touched["absolute_expires_at"], deadline, "{class}");
            assert!(
                touched["expires_at"].as_str() <= deadline.as_str(),
                "{class}: {touched}"
            );
        }
        api.clock.advance(left.saturating_sub(MILLISECOND));
        // A touch at the last moment, and a rotation, give no millisecond more.
        api.post(&format!("{path}/touch"), json!({})).await.expect(200);
        let rotated = api.post(&format!("{path}/rotate"), json!({})).await.expect(201);
        assert_eq!(rotated["session"]["absolute_expires_at"], deadline, "{class}");
        api.get(&path_of(&rotated)).await.expect(200);
        api.clock.advance(MILLISECOND);
        api.get(&path_of(&rotated)).await.problem(404, "session_not_found");
        api.post(&format!("{path}/touch"), json!({}))
            .await
            .problem(404, "session_not_found");
    }
}

#[tokio::test]
async fn s16_memory_and_store_accept_and_refuse_at_the_same_millisecond() {
    for (class, idle, _) in CLASSES {
        let api = with_memory();
        let made = api.create(json!({"user_id": "alice", "class": class})).await;
        let path = path_of(&made);
        let hits = api.metrics.reads.with_label_values(&["l1"]);
        api.clock.advance(idle.saturating_sub(3 * MILLISECOND));
        // The lease lapsed with the leap of the clock; the next heartbeat renews it.
        eventually(SOON, "memory to answer", async || {
            let before = hits.get();
            api.get(&path).await.expect(200);
            hits.get() > before
        })
        .await;
        let statuses = async || {
            let before = hits.get();
            let held = api.get(&path).await.status.as_u16();
            let was_hit = hits.get() > before;
            let stored = api.get(&format!("{path}?consistency=strong")).await.status.as_u16();
            (held, was_hit, stored)
        };
        api.clock.advance(MILLISECOND);
        assert_eq!(statuses().await, (200, true, 200), "{class}: two milliseconds before");
        // The store's clock is told in milliseconds: for the last of them memory asks the store.
        api.clock.advance(MILLISECOND);
        assert_eq!(statuses().await, (200, false, 200), "{class}: one millisecond before");
        api.clock.advance(MILLISECOND);
        assert_eq!(statuses().await, (404, false, 404), "{class}: at its deadline");
    }
}

/// A machine whose wall clock somebody sets.
#[derive(Default)]
struct Stepped(AtomicI64);

impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now.saturating_add_signed(self.0.load(Ordering::SeqCst)))
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock.monotonic()
    }
}

const BRIEF: Duration = Duration::from_secs(2);

fn pod(store: &RedisStore, clock: &Arc<Stepped>, metrics: &Metrics) -> Sessions {
    let brief = Class {
        idle: BRIEF,
        absolute: Duration::from_mins(1),
    };
    let settings = Settings {
        server_id: ServerId::new("one").unwrap(),
        classes: Classes::new(BTreeMap::from([(ClassName::new("normal").unwrap(), brief)])),
        max_bytes: 10_240,
        rotation_grace: Duration::from_secs(10),
        limit: None,
        migration: MigrationPolicy::default(),
        redo_window: Duration::from_secs(30),
        cache: Some(memory()),
        binding: Binding::default(),
        recent_authentication: Duration::from_mins(10),
        serve_stale: std::collections::BTreeMap::new(),
    };
    let parts = Parts {
        store: Arc::new(store.clone()),
        clock: Arc::clone(clock) as _,
        random: Arc::new(SystemRandom),
        view: watch::channel(View::default()).1,
        metrics: metrics.clone(),
        traces: cloakroom::telemetry::Traces::off(),
    };
    Sessions::new(settings, parts)
}

async fn redis_now(store: &RedisStore, cluster: &crate::support::redis_cluster::RedisCluster) -> u64 {
    let _ = store;
    let (seconds, micros): (u64, u64) = cluster.nodes()[0].ask(&["TIME"]).await;
    seconds * 1_000 + micros / 1_000
}

#[tokio::test]
async fn s17_a_step_of_the_wall_clock_neither_extends_nor_kills() {
    const HOUR: i64 = 3_600_000;
    let cluster = shared_cluster().await;
    for step in [HOUR, -HOUR] {
        let (clock, metrics) = (Arc::new(Stepped::default()), Metrics::new().unwrap());
        let store = connect(redis_options(cluster.urls())).await;
        let sessions = pod(&store, &clock, &metrics);
        let stop = CancellationToken::new();
        let (fed, until, transport) = (sessions.clone(), stop.clone(), Arc::new(store.clone()));
        tokio::spawn(async move { fed.keep_covered(transport, until).await });
        eventually(SOON, "every bucket to be covered", async || sessions.is_covered()).await;

        let made = sessions.create(CreateRequest::default()).await.unwrap();
        let token = made.token.expose();
        let judge = async || {
            let presented = Presented {
                token: &token,
                csrf_token: None,
                client: ClientTraits::default(),
                touch: false,
                freshness: Freshness::default(),
            };
            sessions.validate(presented).await.unwrap()
        };
        assert!(matches!(judge().await, Validation::Valid(_)));
        clock.0.store(step, Ordering::SeqCst);
        let expires_at = made.session.expires_at.as_millis();
        let (mut valid, mut hits) = (0_u64, 0);
        let ended = loop {
            let before = redis_now(&store, cluster).await;
            let judged = judge().await;
            let after = redis_now(&store, cluster).await;
            match judged {
                Validation::Valid(valid_session) => {
                    assert!(
                        before < expires_at,
                        "{step}: alive {} ms after its end",
                        before - expires_at
                    );
                    assert_eq!(valid_session.session.expires_at, made.session.expires_at);
                    valid += 1;
                    hits = metrics.reads.with_label_values(&["l1"]).get();
                }
                Validation::Invalid(reason) => {
                    assert_eq!(reason, InvalidReason::SessionExpired, "{step}");
                    break after;
                }
            }
        };
        assert!(ended >= expires_at, "{step}: ended {} ms too early", expires_at - ended);
        assert!(valid > 10 && hits > 0, "{step}: {valid} valid, {hits} from memory");
        // A session made after the step is as long as any other.
        let later = sessions.create(CreateRequest::default()).await.unwrap().session;
        assert_eq!(later.expires_at.since(later.created_at), BRIEF);
        let now = redis_now(&store, cluster).await;
        assert!(later.created_at.as_millis().abs_diff(now) < 60_000, "{step}: {later:?}");
        stop.cancel();
    }
}

#[tokio::test]
async fn s18_the_cookie_never_outlives_the_session_nor_400_days() {
    for (class, _, absolute) in CLASSES {
        let api = Api::new();
        let made = api.create(json!({"class": class})).await;
        let max_age = |made: &serde_json::Value| {
            let value = made["set_cookie"].as_str().unwrap().to_owned();
            let (_, seconds) = value.rsplit_once("Max-Age=").unwrap();
            Duration::from_secs(seconds.split(';').next().unwrap().parse().unwrap())
        };
        assert_eq!(max_age(&made), absolute.min(Duration::from_hours(400 * 24)), "{class}");
        api.clock.advance(Duration::from_millis(1_500));
        let rotated = api
            .post(&format!("{}/rotate", path_of(&made)), json!({}))
            .await
            .expect(201);
        let left = max_age(&rotated);
        assert!(
            left <= absolute.saturating_sub(Duration::from_millis(1_500)),
            "{class}: {left:?}"
        );
    }
}

#[tokio::test]
async fn s19_classes_are_named_and_none_is_without_an_end() {
    let api = Api::new();
    for unknown in ["forever", "Normal", "", "normal "] {
        let answer = api.post("/v1/sessions", json!({"class": unknown})).await;
        answer.problem(400, "invalid_request");
        assert!(answer.body.contains("remember_me"), "{}", answer.body);
    }
    for (class, idle, absolute) in CLASSES {
        let made = api.create(json!({"class": class})).await;
        let at = |field: &str| {
            made["session"][field]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        let lasts = |field| at(field).duration_since(at("created_at")).unsigned_abs();
        assert_eq!(lasts("expires_at"), idle, "{class}");
        assert_eq!(lasts("absolute_expires_at"), absolute, "{class}");
    }
    for (given, what) in [
        ("session.classes.normal.absolute=0", "must be given"),
        ("session.classes.normal.idle=0s", "must be given"),
        ("session.classes.own.idle=1h", "must be given"),
        ("session.classes.normal.idle=unlimited", "is not a duration"),
        ("session.classes.normal.absolute=40000d", "too long"),
        ("session.classes.normal.idle=8d", "longer than its absolute one"),
    ] {
        let (key, value) = given.split_once('=').unwrap();
        let flag = FlagValue {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            values: vec![value.to_owned()],
        };
        let sources = Sources {
            flags: vec![flag],
            ..Sources::default()
        };
        let refused = Config::load(&sources).map(drop).unwrap_err().to_string();
        assert!(refused.contains(what), "{given}: {refused}");
    }
}
