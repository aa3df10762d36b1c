use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use super::client::{Kubernetes, chain};
use crate::cluster::{FleetError, Member, MemberState, Members, Membership, Result};
use crate::session::{Clock, Monotonic, ServerId};

/// How long one watch lasts, in seconds: a connection that died unnoticed is given up 5 s after it.
const WATCH_FOR: u32 = 25;
/// The pause before a watch that failed is begun anew.
const RETRY: Duration = Duration::from_secs(2);
/// A watch that has failed and does not say so again within this time works again: it is begun anew, and fails, more
/// often than that.
const RECOVERED: Duration = Duration::from_secs(35);
/// How much later than a pod begins to serve the slices may tell of it.
const LAG: Duration = Duration::from_secs(5);
/// How long the first list may be waited for.
const FIRST_LIST: Duration = Duration::from_secs(3);

/// The fleet by the endpoints of a headless Service: who is there is what the API server says; a server that says nothing
/// itself is told of all the same.
pub struct EndpointsMembership {
    clock: Arc<dyn Clock>,
    service: String,
    /// Whether any list was told.
    told: AtomicBool,
    known: watch::Sender<Known>,
    /// Where the one that waits for changes has got to.
    seen: Mutex<watch::Receiver<Known>>,
    _watch: AbortOnDropHandle<()>,
}

/// What was heard of the slices.
#[derive(Default)]
struct Known {
    /// The endpoints of each slice, once all were listed.
    slices: Option<Slices>,
    /// Those listed so far, while all are listed anew.
    listing: Slices,
    /// The last failure since the last news, and when it was.
    failed: Option<(String, Monotonic)>,
}

type Slices = BTreeMap<String, Vec<Endpoint>>;

impl EndpointsMembership {
    /// Watches the slices of a Service from now on.
    pub fn start(kubernetes: &Kubernetes, service: &str, clock: Arc<dyn Clock>) -> Self {
        let slices = Api::<EndpointSlice>::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
        let (known, seen) = watch::channel(Known::default());
        let following = follow(slices, service.to_owned(), known.clone(), Arc::clone(&clock));
        Self {
            clock,
            service: service.to_owned(),
            told: AtomicBool::new(false),
            known,
            seen: Mutex::new(seen),
            _watch: AbortOnDropHandle::new(tokio::spawn(following)),
        }
    }

    /// The uid of a server's pod, where the endpoints tell.
    pub(super) fn uid_of(&self, server: &ServerId) -> Option<String> {
        let known = self.known.borrow();
        let endpoints = known.slices.iter().flat_map(BTreeMap::values).flatten();
        let mut pods = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref());
        pods.find(|pod| pod.name.as_deref() == Some(server.as_str()))?
            .uid
            .clone()
    }

    fn members(&self) -> Result<Members> {
        let known = self.known.borrow();
        let failure = known.failed.as_ref();
        let failure = failure.filter(|(_, at)| self.clock.monotonic().since(*at) < RECOVERED);
        let failure = failure.map(|(why, _)| FleetError::Kubernetes(why.clone()));
        let Some(slices) = &known.slices else {
            let unknown = || format!("the endpoints of the Service {} are not known yet", self.service);
            return Err(failure.unwrap_or_else(|| FleetError::Kubernetes(unknown())));
        };
        // What was listed is told once, even if it cannot be watched.
        let told = self.told.swap(true, Ordering::Relaxed);
        match failure.filter(|_| told) {
            Some(failure) => Err(failure),
            None => Ok(members_of(slices.values().flatten())),
        }
    }
}

#[async_trait]
impl Membership for EndpointsMembership {
    async fn announce(&self, me: &ServerId, state: MemberState, _: Duration) -> Result<Members> {
        let mut known = self.known.subscribe();
        let told = known.wait_for(|known| known.slices.is_some() || known.failed.is_some());
        let _ = tokio::time::timeout(FIRST_LIST, told).await;
        let mut members = self.members()?;
        // What this server knows about itself it knows first.
        if state == MemberState::Draining {
            let own = members.0.iter_mut().filter(|member| member.server_id == *me);
            own.for_each(|member| member.state = state);
        }
        Ok(members)
    }

    /// The API server learns by itself when a pod goes.
    async fn withdraw(&self, _: &ServerId) -> Result<()> {
        Ok(())
    }

    async fn changed(&self) {
        // The sender lives as long as this does.
        let _ = self.seen.lock().await.changed().await;
    }

    fn lag(&self) -> Duration {
        LAG
    }
}

async fn follow(slices: Api<EndpointSlice>, service: String, known: watch::Sender<Known>, clock: Arc<dyn Clock>) {
    let selected = watcher::Config::default()
        .labels(&format!("kubernetes.io/service-name={service}"))
        .timeout(WATCH_FOR);
    let mut events = std::pin::pin!(watcher(slices, selected).backoff(Steadily));
    while let Some(event) = events.next().await {
        known.send_if_modified(|known| match event {
            Ok(event) => known.apply(event),
            Err(error) => {
                known.failed = Some((chain(&error), clock.monotonic()));
                true
            }
        });
    }
}

impl Known {
    /// Takes an event in; true where somebody may want to know.
    fn apply(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            // Announced before the API server was asked: it has not answered yet.
            Event::Init => {
                self.listing.clear();
                return false;
            }
            Event::InitApply(slice) => {
                self.listing.insert(slice.name_any(), slice.endpoints);
            }
            Event::InitDone => self.slices = Some(std::mem::take(&mut self.listing)),
            Event::Apply(slice) => {
                let slices = self.slices.get_or_insert_default();
                slices.insert(slice.name_any(), slice.endpoints);
            }
            Event::Delete(slice) => {
                let slices = self.slices.get_or_insert_default();
                slices.remove(&slice.name_any());
            }
        }
        self.failed = None;
        self.slices.is_some()
    }
}

/// The pods behind endpoints. A pod may be in several slices (one for each family of addresses, or while the controller
/// moves it): it is draining where any says that it terminates, and else live where any says that it serves.
fn members_of<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Members {
    #[derive(Default)]
    struct Told {
        terminates: bool,
        serves: bool,
    }
    let mut pods = BTreeMap::<&str, Told>::new();
    for endpoint in endpoints {
        let pod = endpoint
            .target_ref
            .as_ref()
            .filter(|to| to.kind.as_deref() == Some("Pod"));
        let Some(name) = pod.and_then(|pod| pod.name.as_deref()) else {
            continue;
        };
        let conditions = endpoint.conditions.as_ref();
        let told = pods.entry(name).or_default();
        told.terminates |= conditions.and_then(|all| all.terminating).unwrap_or(false);
        told.serves |= conditions.is_none_or(serves);
    }
    let member = |(name, told): (&str, Told)| {
        let live = told.serves && !told.terminates;
        Some(Member {
            server_id: ServerId::new(name).ok()?,
            state: if live { MemberState::Live } else { MemberState::Draining },
        })
    };
    Members(pods.into_iter().filter_map(member).collect())
}

/// What is not said counts as yes, as the API defines it.
fn serves(conditions: &EndpointConditions) -> bool {
    conditions.serving.or(conditions.ready).unwrap_or(true)
}

/// The same pause each time: an API server that is back is asked within seconds, and one that is away is not pressed.
struct Steadily;

impl Iterator for Steadily {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(RETRY)
    }
}

impl Backoff for Steadily {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn endpoint(pod: &str, conditions: [Option<bool>; 3]) -> Endpoint {
        let [ready, serving, terminating] = conditions;
        Endpoint {
            conditions: Some(EndpointConditions {
                ready,
                serving,
                terminating,
            }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(pod.to_owned()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }
    }

    fn states(endpoints: &[Endpoint]) -> Vec<(String, &'static str)> {
        let Members(members) = members_of(endpoints.iter());
        let told = members.into_iter();
        told.map(|member| (member.server_id.to_string(), member.state.as_str()))
            .collect()
    }

    #[test]
    fn a_pod_is_live_while_it_serves_and_does_not_terminate() {
        let (yes, no) = (Some(true), Some(false));
        let endpoints = [
            endpoint("a", [yes, yes, no]),
            endpoint("b", [no, yes, yes]),
            endpoint("c", [no, no, no]),
            endpoint("d", [None, None, None]),
            endpoint("e", [no, None, None]),
        ];
        let told = states(&endpoints);
        let told: Vec<_> = told.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        let (live, draining) = ("live", "draining");
        assert_eq!(
            told,
            [
                ("a", live),
                ("b", draining),
                ("c", draining),
                ("d", live),
                ("e", draining)
            ]
        );
    }

    #[test]
    fn of_two_slices_that_differ_the_one_counts_that_knows_more() {
        let (yes, no) = (Some(true), Some(false));
        let moved = [endpoint("a", [no, no, no]), endpoint("a", [yes, yes, no])];
        assert_eq!(states(&moved), [("a".to_owned(), "live")]);
        let going = [endpoint("a", [yes, yes, no]), endpoint("a", [no, yes, yes])];
        assert_eq!(states(&going), [("a".to_owned(), "draining")]);
    }

    #[test]
    fn what_is_no_pod_is_no_server() {
        let mut node = endpoint("n", [Some(true); 3]);
        node.target_ref.as_mut().unwrap().kind = Some("Node".to_owned());
        assert_eq!(states(&[node, Endpoint::default()]), []);
    }

    #[test]
    fn a_new_list_counts_only_once_it_is_whole() {
        let slice = |name: &str, pod: &str| {
            let mut slice = EndpointSlice {
                endpoints: vec![endpoint(pod, [Some(true), Some(true), Some(false)])],
                ..EndpointSlice::default()
            };
            slice.metadata.name = Some(name.to_owned());
            slice
        };
        let names = |known: &Known| {
            let slices = known
                .slices
                .as_ref()
                .map(|slices| slices.keys().cloned().collect::<Vec<_>>());
            slices.unwrap_or_default()
        };
        let mut known = Known::default();
        assert!(!known.apply(Event::Init) && !known.apply(Event::InitApply(slice("1", "a"))));
        assert!(known.apply(Event::InitDone));
        assert!(known.apply(Event::Apply(slice("2", "b"))));
        assert_eq!(names(&known), ["1", "2"]);
        known.apply(Event::Init);
        known.apply(Event::InitApply(slice("2", "b")));
        assert_eq!(names(&known), ["1", "2"], "what was known counts until then");
        known.apply(Event::InitDone);
        assert_eq!(names(&known), ["2"]);
        known.apply(Event::Delete(slice("2", "b")));
        assert_eq!(names(&known), Vec::<String>::new());
    }
}
