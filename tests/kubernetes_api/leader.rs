//! The leader's Lease: taken, renewed, released, lost.

use std::time::Duration;

use cloakroom::session::{Clock as _, SystemClock};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::api_server;
use crate::pod::{Pod, Store};
use crate::site::{Site, ready};
use crate::support::single_redis::shared_single_redis;
use crate::support::wait::{SOON, eventually};
use crate::{LEASE, RETRY};

/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(8);

struct Pair {
    site: Site,
    leader: Pod,
    other: Pod,
}

/// Two servers, of which the first to come leads.
async fn pair(settings: &[(&str, &str)]) -> Pair {
    let site = Site::new(api_server::shared().await).await;
    let store = Store::of(shared_single_redis().await);
    for name in ["cloakroom-a", "cloakroom-b"] {
        site.add_pod(name).await;
    }
    site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
    let leader = Pod::start(&site, "cloakroom-a", &store, settings).await;
    eventually(SOON, "the first to lead", async || leader.leads().await).await;
    let other = Pod::start(&site, "cloakroom-b", &store, settings).await;
    assert_eq!(site.holder().await.as_deref(), Some("cloakroom-a"));
    Pair { site, leader, other }
}

impl Pair {
    async fn spec(&self) -> LeaseSpec {
        self.site.lease().await.spec.unwrap()
    }

    /// Waits until the other holds the Lease: the state of it before and then.
    async fn until_other_leads(&self, limit: Duration) -> (LeaseSpec, LeaseSpec) {
        let mut before = self.spec().await;
        let after = eventually(limit, "the other to lead", async || {
            let spec = self.spec().await;
            if spec.holder_identity.as_deref() == Some(&self.other.name) {
                return Some(spec);
            }
            before = spec;
            None
        })
        .await;
        eventually(SOON, "the other to know", async || self.other.leads().await).await;
        (before, after)
    }
}

fn time(time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>) -> Timestamp {
    time.unwrap().0
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

#[tokio::test]
async fn a_killed_leader_is_followed_once_its_lease_has_lapsed_and_not_before() {
    let pair = pair(&[]).await;
    let first = pair.spec().await;
    assert_eq!(
        (first.lease_duration_seconds, first.lease_transitions),
        (Some(10), Some(0))
    );
    eventually(SOON, "a renewal", async || {
        let spec = pair.spec().await;
        assert_eq!(spec.acquire_time, first.acquire_time, "renewed, not taken");
        spec.renew_time > first.renew_time
    })
    .await;
    pair.leader.program.kill();
    let killed = Instant::now();
    let (before, after) = pair.until_other_leads(LEASE + RETRY + MARGIN).await;
    println!("a killed leader was followed after {:?}", killed.elapsed());
    let pause = between(time(before.renew_time), time(after.acquire_time));
    assert!(pause >= LEASE, "taken {pause:?} after it was renewed");
    assert_eq!(after.lease_transitions, Some(1));
}

#[tokio::test]
async fn a_leader_that_drains_gives_the_lease_back_and_is_followed_at_once() {
    let pair = pair(&[]).await;
    pair.leader.program.terminate();
    let told = Instant::now();
    let (before, after) = pair.until_other_leads(RETRY + MARGIN).await;
    println!("a leader that drains was followed after {:?}", told.elapsed());
    // The last state seen before may still be the held one.
    let pause = between(time(before.renew_time), time(after.acquire_time));
    assert!(pause < LEASE, "not before the lease would have lapsed: {pause:?}");
    assert!(pair.leader.program.wait_exit(SOON).await.success());
    assert_eq!(
        pair.site.holder().await.as_deref(),
        Some("cloakroom-b"),
        "it is not taken back"
    );
}

#[tokio::test]
async fn a_frozen_leader_loses_the_lease_and_acts_no_more_when_it_wakes() {
    let class = [
        ("session.classes.kiosk.idle", "2s"),
        ("session.classes.kiosk.absolute", "1m"),
    ];
    let pair = pair(&class).await;
    for _ in 0..20 {
        pair.other.create(json!({"class": "kiosk"})).await;
    }
    pair.leader.program.freeze();
    let frozen = Instant::now();
    let (before, after) = pair.until_other_leads(LEASE + RETRY + MARGIN).await;
    println!("a frozen leader was followed after {:?}", frozen.elapsed());
    assert!(between(time(before.renew_time), time(after.acquire_time)) >= LEASE);
    // What has expired meanwhile is swept by the one that leads now.
    eventually(SOON, "the sweep", async || {
        pair.other.metric("cloakroom_swept_sessions_total").await == Some(20.0)
    })
    .await;
    let swept_before = pair.spec().await;
    pair.leader.program.thaw();
    pair.leader
        .program
        .logged("the leader's lease was not renewed in time")
        .await;
    assert!(!pair.leader.leads().await);
    assert_eq!(pair.leader.metric("cloakroom_swept_sessions_total").await, Some(0.0));
    let now = pair.spec().await;
    assert_eq!(now.holder_identity, swept_before.holder_identity);
    assert_eq!(now.lease_transitions, Some(1), "nobody took it again");
    let stats = pair.leader.get("/v1/stats").await;
    assert_eq!(stats["sessions"], 0, "{stats}");
    eventually(SOON, "an Event", async || {
        let events = pair.site.events("LeadershipLapsed").await;
        let about = |event: &k8s_openapi::api::events::v1::Event| event.regarding.clone().unwrap().name;
        events
            .iter()
            .any(|event| about(event).as_deref() == Some("cloakroom-a"))
    })
    .await;
}

/// Clocks that differ do no harm: what counts is when the lease was seen to change.
#[tokio::test]
async fn a_lease_renewed_by_a_clock_that_is_wrong_is_kept_while_it_is_renewed() {
    let pair = pair(&[]).await;
    pair.leader.program.kill();
    // From now on somebody renews it whose clock is an hour behind.
    let stop = Instant::now() + LEASE + RETRY;
    let leases = pair.site.all::<k8s_openapi::api::coordination::v1::Lease>();
    let now = i64::try_from(SystemClock.now().as_millis()).unwrap();
    let mut renewed = Timestamp::from_millisecond(now).unwrap() - k8s_openapi::jiff::SignedDuration::from_hours(1);
    while Instant::now() < stop {
        renewed += k8s_openapi::jiff::SignedDuration::from_secs(1);
        let patch = json!({"spec": {"holderIdentity": "slow-clock", "renewTime": format!("{renewed:.6}")}});
        let params = kube::api::PatchParams::default();
        leases
            .patch("cloakroom", &params, &kube::api::Patch::Merge(&patch))
            .await
            .unwrap();
        assert_eq!(pair.site.holder().await.as_deref(), Some("slow-clock"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!pair.other.leads().await);
    pair.until_other_leads(LEASE + RETRY + MARGIN).await;
}
