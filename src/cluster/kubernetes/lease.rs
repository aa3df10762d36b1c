use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::Mutex;

use super::client::{Failed, Kubernetes, call};
use crate::cluster::{FleetError, Leadership, Result};
use crate::session::{Clock, Monotonic, ServerId};

/// How often a change is tried that another one overtakes.
const ATTEMPTS: usize = 3;

/// The leader by a Lease, as client-go elects: a lease lapses when this server has not *seen* it change for its duration.
/// The times written in it are for people.
pub struct LeaseLeadership {
    leases: Api<Lease>,
    name: String,
    clock: Arc<dyn Clock>,
    observed: Mutex<Option<Observed>>,
}

/// A state of the lease, and since when it was seen.
struct Observed {
    spec: LeaseSpec,
    since: Monotonic,
}

impl LeaseLeadership {
    /// Over the Lease of this name, which is made where it is missing.
    pub fn new(kubernetes: &Kubernetes, name: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            leases: Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace),
            name: name.to_owned(),
            clock,
            observed: Mutex::new(None),
        }
    }

    async fn read(&self) -> std::result::Result<Option<Lease>, Failed> {
        call(self.leases.get_opt(&self.name)).await
    }

    /// Who holds the lease as this server sees it, be it this server or another; nobody where it is free or has lapsed.
    async fn holder(&self, spec: &LeaseSpec, ttl: Duration) -> Option<String> {
        let now = self.clock.monotonic();
        let mut observed = self.observed.lock().await;
        let since = match observed.as_ref() {
            Some(seen) if seen.spec == *spec => seen.since,
            _ => {
                let spec = spec.clone();
                *observed = Some(Observed { spec, since: now });
                now
            }
        };
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(ttl, Duration::from_secs);
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
        holder.filter(|_| now.since(since) < duration)
    }

    async fn create(&self, me: &ServerId, ttl: Duration) -> std::result::Result<(), Failed> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.held(&LeaseSpec::default(), me, ttl)),
        };
        call(self.leases.create(&PostParams::default(), &lease))
            .await
            .map(|_| ())
    }

    async fn replace(&self, lease: &Lease) -> std::result::Result<(), Failed> {
        // It holds the version that was read: where another one is stored by now, this is refused.
        call(self.leases.replace(&self.name, &PostParams::default(), lease))
            .await
            .map(|_| ())
    }

    /// The lease as this server takes or renews it.
    fn held(&self, former: &LeaseSpec, me: &ServerId, ttl: Duration) -> LeaseSpec {
        let now = self.now();
        let renews = former.holder_identity.as_deref() == Some(me.as_str());
        let transitions = former.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(me.to_string()),
            lease_duration_seconds: Some(i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if renews {
                former.acquire_time.clone()
            } else {
                now.clone()
            },
            renew_time: now,
            lease_transitions: Some(transitions + i32::from(!renews && former.acquire_time.is_some())),
            ..former.clone()
        }
    }

    fn now(&self) -> Option<MicroTime> {
        let millis = i64::try_from(self.clock.now().as_millis()).ok()?;
        jiff::Timestamp::from_millisecond(millis).ok().map(MicroTime)
    }
}

#[async_trait]
impl Leadership for LeaseLeadership {
    async fn acquire(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>> {
        for _ in 0..ATTEMPTS {
            let outcome = match self.read().await? {
                None => self.create(me, ttl).await,
                Some(mut lease) => {
                    let spec = lease.spec.take().unwrap_or_default();
                    let other = self.holder(&spec, ttl).await.filter(|holder| holder != me.as_str());
                    if let Some(other) = other {
                        return Ok(ServerId::new(&other).ok());
                    }
                    lease.spec = Some(self.held(&spec, me, ttl));
                    self.replace(&lease).await
                }
            };
            match outcome {
                Ok(()) => return Ok(Some(me.clone())),
                // Another was first: who holds it now?
                Err(failed) if failed.is_conflict() => {}
                Err(failed) => return Err(failed.into()),
            }
        }
        Err(FleetError::Kubernetes(format!(
            "the lease {} changed each time that it was to be taken",
            self.name
        )))
    }

    async fn release(&self, me: &ServerId) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(mut lease) = self.read().await? else {
                return Ok(());
            };
            let spec = lease.spec.take().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(me.as_str()) {
                return Ok(());
            }
            lease.spec = Some(LeaseSpec {
                holder_identity: None,
                lease_duration_seconds: Some(1),
                renew_time: self.now(),
                ..spec
            });
            match self.replace(&lease).await {
                Err(failed) if failed.is_conflict() => {}
                outcome => return Ok(outcome?),
            }
        }
        Ok(())
    }
}
