//! Beyond the fault model: messages that vanish alone, answers that change places, requests given up at random.

use std::time::Duration;

use cloakroom::session::{Random as _, SessionId, SystemRandom, UserId};
use cloakroom::sessions::{CacheSettings, Error};
use cloakroom::store::StoreError;
use tokio::time::{Instant, sleep, timeout};

use super::pod::{FROM_MEMORY, Pod, memory, number, number_of, url};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;

/// Heartbeats are answered and invalidations are not: the maximum age bounds the error, and the sampler tells of it.
#[tokio::test]
async fn r04_invalidations_that_vanish_alone_are_bounded_by_age_and_seen_by_the_sampler() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let proxy = ChaosProxy::start(redis.address());
    let prefix = unique_prefix();
    let aged = CacheSettings {
        max_age: Duration::from_secs(2),
        ..memory()
    };
    let writer = Pod::over_redis(redis.url(), &prefix, aged).await;
    let reader = Pod::over_redis(url(proxy.address()), &prefix, aged).await;
    proxy.drop_replies_containing("smessage");
    let id = writer.create(None).await;
    reader.warm(id).await;

    let (mut longest, mut reads) = (Duration::ZERO, 0_u64);
    for n in 1..=2 {
        writer.sessions.change(id, number(n)).await.unwrap();
        let written = Instant::now();
        loop {
            let session = reader.sessions.get(id, FROM_MEMORY).await.unwrap().unwrap();
            if number_of(&session) == n {
                break;
            }
            reads += 1;
            longest = longest.max(written.elapsed());
            assert!(
                written.elapsed() < aged.max_age + Duration::from_millis(500),
                "older than its maximum age"
            );
            if reads.is_multiple_of(64) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        reader.warm(id).await;
    }
    assert!(longest > super::BOUND, "nothing vanished: {longest:?}");
    assert!(
        reader.metrics.staleness_violations.get() >= 1,
        "the sampler saw nothing"
    );
    assert_eq!(writer.metrics.staleness_violations.get(), 0);
    eprintln!(
        "invalidations vanish: longest {longest:?} of at most {:?}, {} violations counted in {reads} stale reads",
        aged.max_age,
        reader.metrics.staleness_violations.get()
    );
}

/// Two pods behind one proxy, and a session for each of some users.
struct Crowd {
    _redis: SingleRedis,
    proxy: ChaosProxy,
    pods: [Pod; 2],
    sessions: Vec<(String, SessionId)>,
}

impl Crowd {
    async fn gather(users: usize) -> Self {
        let redis = SingleRedis::start(ServerOptions::default()).await;
        let proxy = ChaosProxy::start(redis.address());
        let prefix = unique_prefix();
        let pods = [
            Pod::over_redis(url(proxy.address()), &prefix, memory()).await,
            Pod::over_redis(url(proxy.address()), &prefix, memory()).await,
        ];
        let mut sessions = Vec::new();
        for number in 0..users {
            let user = format!("user-{number}");
            let id = pods[0].create(Some(&user)).await;
            sessions.push((user, id));
        }
        Self {
            _redis: redis,
            proxy,
            pods,
            sessions,
        }
    }

    /// Reads a user's session; whoever is answered is answered with their own.
    async fn read(&self, pod: usize, number: usize) -> Result<(), Error> {
        let (user, id) = &self.sessions[number];
        let session = self.pods[pod]
            .sessions
            .get(*id, FROM_MEMORY)
            .await?
            .expect("a live session");
        assert_eq!(
            session.user_id,
            Some(UserId::new(user).unwrap()),
            "another user's session"
        );
        assert_eq!(session.id, *id);
        Ok(())
    }
}

#[tokio::test]
async fn s51_answers_that_change_places_are_refused_and_cost_their_connections() {
    let crowd = Crowd::gather(20).await;
    for pair in 0..10 {
        let (left, right) = (2 * pair, 2 * pair + 1);
        let ids = [left, right].map(|number| crowd.sessions[number].1.to_string());
        crowd.proxy.swap_replies(&ids[0], &ids[1]);
        let before = crowd.pods.each_ref().map(|pod| pod.metrics.store_connections.get());
        let answers = tokio::join!(crowd.read(0, left), crowd.read(1, right));
        for answer in [answers.0, answers.1] {
            assert!(matches!(answer, Err(Error::Store(StoreError::Mismatch))), "{answer:?}");
        }
        crowd.proxy.clear();
        for (pod, number) in [(0, left), (1, right)] {
            crowd.read(pod, number).await.unwrap();
            let metrics = &crowd.pods[pod].metrics;
            assert_eq!(metrics.store_mismatches.get(), pair as u64 + 1);
            assert!(
                metrics.store_connections.get() > before[pod],
                "the connection was not replaced"
            );
        }
    }
}

#[tokio::test]
async fn r07_requests_given_up_at_random_give_nobody_the_session_of_another() {
    const USERS: usize = 40;
    let crowd = Crowd::gather(USERS).await;
    crowd.proxy.delay_replies(Duration::from_millis(4));
    let (mut answered, mut given_up) = (0, 0);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let readers = (0..64).map(|_| async {
            let mut random = [0; 3];
            SystemRandom.fill(&mut random).unwrap();
            let (pod, number) = (usize::from(random[0] % 2), usize::from(random[1]) % USERS);
            // About as long as an answer takes.
            let patience = Duration::from_micros(u64::from(random[2]) * 40);
            if random[0].is_multiple_of(8) {
                let (_, id) = crowd.sessions[number];
                let change = crowd.pods[pod]
                    .sessions
                    .change(id, super::pod::number(u64::from(random[1])));
                let _ = timeout(patience, change).await;
            }
            timeout(patience, crowd.read(pod, number)).await
        });
        for outcome in futures_util::future::join_all(readers).await {
            match outcome {
                Ok(read) => {
                    read.unwrap();
                    answered += 1;
                }
                Err(_) => given_up += 1,
            }
        }
    }
    eprintln!("given up at random: {answered} answered, {given_up} given up, 0 of another user");
    assert!(
        answered > 100 && given_up > 100,
        "{answered} answered, {given_up} given up"
    );
    let mismatches: u64 = crowd.pods.iter().map(|pod| pod.metrics.store_mismatches.get()).sum();
    assert_eq!(mismatches, 0);
}
