//! One server: the façade, its background and its two listeners, from the first bind to the last good-bye.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::background::{Background, Duties};
use super::failure::Failure;
use super::signals::Shutdown;
use super::store::Opened;
use crate::cluster::View;
use crate::http::admin::{self, Readiness};
use crate::http::caller::CallerAuth;
use crate::http::listener::{Drain, Limits, Listener, Role, Tls};
use crate::http::{self, ApiState, HttpSettings};
use crate::session::{Clock, Random};
use crate::sessions::{Parts, Sessions, Settings};
use crate::telemetry::Metrics;

/// What a server is made of.
pub struct Plan {
    /// What the façade is told.
    pub settings: Settings,
    /// The store of record and the fleet.
    pub opened: Opened,
    /// Where it counts.
    pub metrics: Metrics,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// How callers prove who they are.
    pub callers: CallerAuth,
    /// What the handlers are told.
    pub http: HttpSettings,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where metrics and health listen.
    pub admin_listen: SocketAddr,
    /// The API's TLS.
    pub tls: Option<Arc<Tls>>,
    /// What the API's clients are granted.
    pub limits: Limits,
    /// How long new connections are still served after the first signal.
    pub grace: Duration,
    /// How long open requests then have.
    pub drain: Duration,
}

/// A server that has its addresses and serves as soon as it runs.
pub struct Replica {
    sessions: Sessions,
    traffic: Listener,
    admin: Listener,
    router: Router,
    admin_router: Router,
    duties: Duties,
    drain: Drain,
}

impl Replica {
    /// Puts a server together and binds its addresses.
    pub fn bind(plan: Plan, shutdown: &Shutdown) -> Result<Self, Failure> {
        let metrics = plan.metrics;
        let readiness = Readiness::default();
        let (view, seen) = watch::channel(View::default());
        let parts = Parts {
            store: plan.opened.store,
            clock: plan.clock,
            random: plan.random,
            view: seen,
            metrics: metrics.clone(),
        };
        let sessions = Sessions::new(plan.settings, parts);
        let api = ApiState::new(sessions.clone(), plan.callers, plan.http, shutdown.draining());
        let duties = Duties {
            sessions: sessions.clone(),
            membership: plan.opened.membership,
            leadership: plan.opened.leadership,
            transport: plan.opened.transport,
            readiness: readiness.clone(),
            view,
        };
        Ok(Self {
            sessions,
            traffic: Listener::bind(Role::Traffic, plan.listen, plan.tls, plan.limits, metrics.clone())?,
            admin: Listener::bind(Role::Admin, plan.admin_listen, None, Limits::default(), metrics.clone())?,
            router: http::router(api),
            admin_router: admin::router(metrics, readiness),
            duties,
            drain: Drain {
                requested: shutdown.draining(),
                grace: plan.grace,
                limit: plan.drain,
            },
        })
    }

    /// The façade.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.traffic.local_addr()
    }

    /// Where metrics and health listen.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Serves until the first signal, then drains; a second signal aborts.
    ///
    /// In this order: unready and draining in the eyes of the fleet; a grace, until load balancers have noticed; the
    /// requests in flight; the uses that wait to be recorded, the leader's lease, the membership; last of all the admin
    /// listener, so that probes and metrics see the drain.
    pub async fn run(self, shutdown: &Shutdown) -> Result<(), Failure> {
        tokio::select! {
            () = self.serve(shutdown) => Ok(()),
            () = shutdown.aborted() => Err(Failure::Aborted),
        }
    }

    async fn serve(self, shutdown: &Shutdown) {
        let readiness = self.duties.readiness.clone();
        let mut background = Background::start(self.duties);
        let (end_admin, admin_ends) = watch::channel(false);
        let admin_drain = Drain {
            requested: admin_ends,
            grace: Duration::ZERO,
            limit: Duration::from_secs(1),
        };
        let admin = self.admin.serve(self.admin_router, admin_drain);
        let until_drained = async {
            let leave_the_fleet = async {
                shutdown.requested().await;
                readiness.drain();
                background.drain();
            };
            tokio::join!(self.traffic.serve(self.router, self.drain), leave_the_fleet);
            background.stop().await;
            end_admin.send_replace(true);
        };
        tokio::join!(until_drained, admin);
        tracing::info!(server_id = %self.sessions.server_id(), "stopped");
    }
}
