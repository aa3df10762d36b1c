use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::client::{Kubernetes, call};
use super::endpoints::EndpointsMembership;
use crate::cluster::{Condition, FleetError};
use crate::session::ServerId;

/// What publishes them, and acts.
const CONTROLLER: &str = "cloakroom";
/// At most once in this time is the same condition told; what comes meanwhile is told as one.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest note, in bytes: the API server takes 1 kB.
const LONGEST_NOTE: usize = 1000;

/// Publishes conditions as Events about this server's pod until nothing can tell of any more. The same again raises the
/// count of its Event, for as long as that is remembered (6 minutes). What cannot be published waits, one of each reason.
pub async fn publish(
    kubernetes: Kubernetes,
    fleet: Arc<EndpointsMembership>,
    me: ServerId,
    mut told: mpsc::Receiver<Condition>,
) {
    let mut publisher = Publisher::new(kubernetes, fleet, me);
    let mut waiting = BTreeMap::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            condition = told.recv() => match condition {
                Some(condition) => { waiting.insert(condition.reason(), condition); }
                None => return,
            },
            () = sleep_until(next), if !waiting.is_empty() => {
                next = Instant::now() + PAUSE;
                for (reason, condition) in std::mem::take(&mut waiting) {
                    if !publisher.publish(&condition).await {
                        waiting.insert(reason, condition);
                    }
                }
            }
        }
    }
}

struct Publisher {
    kubernetes: Kubernetes,
    fleet: Arc<EndpointsMembership>,
    me: ServerId,
    recorder: Recorder,
    failing: bool,
}

impl Publisher {
    fn new(kubernetes: Kubernetes, fleet: Arc<EndpointsMembership>, me: ServerId) -> Self {
        Self {
            recorder: recorder(&kubernetes, &me),
            kubernetes,
            fleet,
            me,
            failing: false,
        }
    }

    /// Whether it was published, or cannot be at all.
    async fn publish(&mut self, condition: &Condition) -> bool {
        let event = Event {
            type_: EventType::Warning,
            reason: condition.reason().to_owned(),
            note: Some(cut(condition.note())),
            action: "Serving".to_owned(),
            secondary: None,
        };
        let pod = self.pod();
        let Err(failed) = call(self.recorder.publish(&event, &pod)).await else {
            self.failing = false;
            return true;
        };
        if failed.code == Some(404) {
            // The Event whose count was to be raised is gone: a new one.
            self.recorder = recorder(&self.kubernetes, &self.me);
        }
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error = %FleetError::from(failed), "events cannot be published, and are tried again");
        }
        false
    }

    /// This server's pod. `kubectl describe` looks for Events by the pod's uid.
    fn pod(&self) -> ObjectReference {
        let own = self.kubernetes.pod.as_ref().map(|pod| pod.uid.clone());
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.me.to_string()),
            namespace: Some(self.kubernetes.namespace.clone()),
            uid: own.or_else(|| self.fleet.uid_of(&self.me)),
            ..ObjectReference::default()
        }
    }
}

fn recorder(kubernetes: &Kubernetes, me: &ServerId) -> Recorder {
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: Some(me.to_string()),
    };
    Recorder::new(kubernetes.client.clone(), reporter)
}

fn cut(mut note: String) -> String {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.truncate(end);
    note
}
