//! What a server takes from Kubernetes where the settings say so.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::{OpenError, Opened};
use crate::cluster::kubernetes::{EndpointsMembership, Kubernetes, LeaseLeadership, publish};
use crate::cluster::{Conditions, FallbackLeadership, Leadership, Membership};
use crate::config::KubernetesSettings;
use crate::session::{Clock, ServerId};

/// The fleet by Kubernetes, and the task that publishes Events; it ends when this is dropped.
pub struct InKubernetes {
    client: Kubernetes,
    lease: String,
    clock: Arc<dyn Clock>,
    membership: Arc<EndpointsMembership>,
    conditions: Conditions,
    _publishing: AbortOnDropHandle<()>,
}

impl InKubernetes {
    /// Begins to watch the fleet; nothing where the settings do not want it.
    pub async fn open(
        settings: &KubernetesSettings,
        me: &ServerId,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, OpenError> {
        if !settings.enabled {
            return Ok(None);
        }
        let client = Kubernetes::open(settings.namespace.as_deref(), me).await?;
        let (namespace, service, lease) = (client.namespace(), &settings.service, &settings.lease);
        tracing::info!(namespace, service, lease, "kubernetes tells the fleet and the leader");
        let membership = EndpointsMembership::start(&client, service, Arc::clone(clock));
        let membership = Arc::new(membership);
        let (conditions, told) = Conditions::heard();
        let publishing = publish(client.clone(), Arc::clone(&membership), me.clone(), told);
        Ok(Some(Self {
            client,
            lease: lease.clone(),
            clock: Arc::clone(clock),
            membership,
            conditions,
            _publishing: AbortOnDropHandle::new(tokio::spawn(publishing)),
        }))
    }

    /// The way to the API server.
    pub fn client(&self) -> &Kubernetes {
        &self.client
    }

    /// Where conditions are told that become Events.
    pub fn conditions(&self) -> Conditions {
        self.conditions.clone()
    }

    /// Puts the fleet as Kubernetes knows it in the place of the store's.
    pub fn take_over(&self, opened: Opened) -> Opened {
        let lease: Arc<dyn Leadership> =
            Arc::new(LeaseLeadership::new(&self.client, &self.lease, Arc::clone(&self.clock)));
        let leadership = FallbackLeadership::new(lease, opened.leadership, Arc::clone(&self.clock));
        Opened {
            membership: Arc::clone(&self.membership) as Arc<dyn Membership>,
            leadership: Arc::new(leadership),
            ..opened
        }
    }
}
