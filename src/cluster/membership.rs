use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::Result;
use crate::session::{Monotonic, ServerId};

/// Whether a server takes on sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It serves.
    Live,
    /// It is about to leave: its sessions move to those who serve them.
    Draining,
}

impl MemberState {
    /// The name in records and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
        }
    }
}

/// A server of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub server_id: ServerId,
    /// Whether it takes on sessions.
    pub state: MemberState,
}

/// The servers that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(pub Vec<Member>);

impl Members {
    /// Whether a server is there and takes on sessions.
    pub fn is_live(&self, server: &ServerId) -> bool {
        self.0
            .iter()
            .any(|member| member.server_id == *server && member.state == MemberState::Live)
    }

    /// Whether a server is about to leave.
    pub fn is_draining(&self, server: &ServerId) -> bool {
        self.0
            .iter()
            .any(|member| member.server_id == *server && member.state == MemberState::Draining)
    }

    /// Whether a server is there, draining or not.
    pub fn contains(&self, server: &ServerId) -> bool {
        self.0.iter().any(|member| member.server_id == *server)
    }
}

/// What a server knows of its fleet.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The servers that are there; nothing before they were first heard of.
    pub members: Option<Members>,
    /// What happened before this time is known, by this server's clock.
    pub heard_at: Monotonic,
    /// The one that leads.
    pub leader: Option<ServerId>,
}

impl View {
    /// Whether a server is known to be gone or about to go. Before anything is known, none is.
    pub fn is_gone(&self, server: &ServerId) -> bool {
        self.members.as_ref().is_some_and(|members| !members.is_live(server))
    }

    /// Whether a server has said that it is about to go, or Kubernetes has: nothing that is still to be heard changes that.
    pub fn is_draining(&self, server: &ServerId) -> bool {
        self.members.as_ref().is_some_and(|members| members.is_draining(server))
    }
}

/// How servers learn of each other: by heartbeats in Redis, or from Kubernetes.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// Says that a server is there, and learns of all that are; where they are heard of by heartbeats, those unheard of
    /// for `timeout` are gone. A failure leaves what was known before.
    async fn announce(&self, me: &ServerId, state: MemberState, timeout: Duration) -> Result<Members>;

    /// Says that a server is gone.
    async fn withdraw(&self, me: &ServerId) -> Result<()>;

    /// Waits until the fleet is to be asked for again because it has changed; by heartbeats that is never known.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// How much later than it happened a change is heard of, at most.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

/// How the fleet agrees on the one that sweeps. Everything the leader does is idempotent: a lease is no fence.
#[async_trait]
pub trait Leadership: Send + Sync + 'static {
    /// Takes or renews the lease for `ttl` where no other holds it, and tells who does.
    async fn acquire(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>>;

    /// Gives the lease back, where it is held by this server.
    async fn release(&self, me: &ServerId) -> Result<()>;
}
