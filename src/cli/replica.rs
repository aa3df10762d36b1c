//! One server: its two listeners, the façade and its background, from the first bind to the last good-bye.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::Request;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use super::failure::Failure;
use super::signals::Shutdown;
use crate::cluster::{Conditions, View};
use crate::http::admin;
use crate::http::caller::CallerAuth;
use crate::http::listener::{Drain, Limits, Listener, Role, Tls};
use crate::http::{self, ApiState, Front, HttpSettings};
use crate::runtime::{Background, Duties, Opened, Readiness};
use crate::session::{Clock, Random};
use crate::sessions::{Parts, Sessions, Settings};
use crate::telemetry::Metrics;
use crate::webhooks::Webhook;

/// What a server is made of, beside its store.
pub struct Plan {
    /// What the core is made of.
    pub frame: Frame,
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

/// What a server's core is made of, beside its store.
#[derive(Clone)]
pub struct Frame {
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
    /// Where events are delivered.
    pub webhooks: Arc<[Webhook]>,
    /// True from the first signal on.
    pub draining: watch::Receiver<bool>,
    /// Where it tells what is abnormal.
    pub conditions: Conditions,
}

impl Frame {
    /// Puts the core together over an open store.
    pub fn fill(self, settings: Settings, opened: Opened) -> Core {
        let (view, seen) = watch::channel(View::default());
        let parts = Parts {
            store: opened.store,
            clock: self.clock,
            random: self.random,
            view: seen,
            metrics: self.metrics,
            traces: self.http.traces.clone(),
        };
        let sessions = Sessions::new(settings, parts);
        let api = ApiState::new(sessions.clone(), self.callers, self.http, self.draining);
        Core {
            service: http::service(api),
            duties: Duties {
                sessions,
                membership: opened.membership,
                leadership: opened.leadership,
                transport: opened.transport,
                readiness: Readiness::default(),
                view,
                conditions: self.conditions,
                webhooks: self.webhooks,
            },
        }
    }
}

/// What answers the requests of a server, and what it does besides.
pub struct Core {
    service: Front,
    duties: Duties,
}

impl Core {
    /// The façade.
    pub fn sessions(&self) -> &Sessions {
        &self.duties.sessions
    }

    /// With an application beside the API, on the same listener.
    pub fn beside(self, owns: fn(&str) -> bool, application: Router) -> Self {
        Self {
            service: self.service.beside(owns, application),
            ..self
        }
    }
}

/// A server that has its addresses and serves as soon as it runs.
pub struct Replica {
    traffic: Listener,
    admin: Listener,
    gate: Gate,
    admin_router: Router,
    readiness: Readiness,
    drain: Drain,
}

impl Replica {
    /// Binds the addresses.
    pub fn bind(plan: Plan) -> Result<Self, Failure> {
        let Frame { metrics, http, .. } = &plan.frame;
        let readiness = Readiness::default();
        Ok(Self {
            traffic: Listener::bind(Role::Traffic, plan.listen, plan.tls, plan.limits, metrics.clone())?,
            admin: Listener::bind(Role::Admin, plan.admin_listen, None, Limits::default(), metrics.clone())?,
            gate: Gate::new(http::waiting_service(http, metrics)),
            admin_router: admin::router(metrics.clone(), readiness.clone()),
            readiness,
            drain: Drain {
                requested: plan.frame.draining,
                grace: plan.grace,
                limit: plan.drain,
            },
        })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.traffic.local_addr()
    }

    /// Where metrics and health listen.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Serves until the first signal, then drains; a second signal aborts. Until the core is there, every request is
    /// answered 503; where it fails, the server does.
    ///
    /// In this order: unready and draining in the eyes of the fleet; a grace, until load balancers have noticed; the
    /// requests in flight; the uses that wait to be recorded, the leader's lease, the membership; last of all the admin
    /// listener, so that probes and metrics see the drain.
    pub async fn run(
        self,
        core: impl Future<Output = Result<Core, Failure>>,
        shutdown: &Shutdown,
    ) -> Result<(), Failure> {
        tokio::select! {
            outcome = self.serve(core, shutdown) => outcome,
            () = shutdown.aborted() => Err(Failure::Aborted),
        }
    }

    async fn serve(
        self,
        core: impl Future<Output = Result<Core, Failure>>,
        shutdown: &Shutdown,
    ) -> Result<(), Failure> {
        let (end_admin, admin_ends) = watch::channel(false);
        let admin_drain = Drain {
            requested: admin_ends,
            grace: Duration::ZERO,
            limit: Duration::from_secs(1),
        };
        let admin = self
            .admin
            .serve(TowerToHyperService::new(self.admin_router), admin_drain);
        let traffic = self.traffic.serve(self.gate.clone(), self.drain);
        let (gate, readiness) = (self.gate, self.readiness);
        let until_drained = async {
            let work = async {
                let mut background = tokio::select! {
                    core = core => Some(begin(core?, &gate, &readiness)),
                    () = shutdown.requested() => None,
                };
                shutdown.requested().await;
                readiness.drain();
                if let Some(background) = &mut background {
                    background.drain();
                }
                Ok::<_, Failure>(background)
            };
            // In this order: a store in memory is open before the first request is looked at.
            let (background, _) = tokio::try_join!(biased; work, async { Ok(traffic.await) })?;
            if let Some(mut background) = background {
                background.stop().await;
            }
            end_admin.send_replace(true);
            Ok::<_, Failure>(())
        };
        tokio::try_join!(until_drained, async { Ok(admin.await) })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Lets the traffic through to the core, and starts what that does besides.
fn begin(core: Core, gate: &Gate, readiness: &Readiness) -> Background {
    gate.open(core.service);
    Background::start(Duties {
        readiness: readiness.clone(),
        ..core.duties
    })
}

/// Leads requests to one service until another is there. Cheap to clone.
#[derive(Clone)]
struct Gate(Arc<Doors>);

struct Doors {
    waiting: Front,
    open: OnceLock<Front>,
}

impl Gate {
    fn new(waiting: Front) -> Self {
        Self(Arc::new(Doors {
            waiting,
            open: OnceLock::new(),
        }))
    }

    /// From now on requests go to `service`.
    fn open(&self, service: Front) {
        // There is one core: nothing opens the gate twice.
        let _ = self.0.open.set(service);
    }
}

impl Service<Request<Incoming>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Front as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.0.open.get().unwrap_or(&self.0.waiting).answer(request)
    }
}
