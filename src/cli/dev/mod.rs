//! `cloakroom dev`: a fleet in one process, to see sessions shared, changed and ended with nothing installed.

mod banner;
mod ports;
mod seed;
#[path = "../../../examples/shop/app/mod.rs"]
mod shop;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use ipnet::IpNet;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::args::DevArgs;
use super::failure::Failure;
use super::replica::{Core, Frame, Plan, Replica};
use super::serve::install_log;
use super::settings;
use super::signals::Shutdown;
use crate::cluster::{Conditions, MemberState};
use crate::config::{Config, Loaded, Origin};
use crate::http::caller::CallerAuth;
use crate::runtime::{self, MEMBER_TIMEOUT};
use crate::session::{Clock, Random, SystemClock, SystemRandom};
use crate::sessions::Settings;
use crate::telemetry::Metrics;
use crate::values::Values;
use banner::{Banner, Place};

/// Where the demo application lies.
const SHOP: &str = "/shop";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A person who presses Ctrl-C does not want to wait for an open event stream.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the fleet until SIGTERM or SIGINT.
pub async fn run(args: &DevArgs) -> Result<(), Failure> {
    let loaded = args.settings.load()?;
    install_log(&loaded.config.log, level(&loaded))?;
    let config = loaded.config;
    let shutdown = Shutdown::on_signals()?;
    let fleet = bind_fleet(&config, args.replicas, &shutdown).await?;
    let first = fleet.first().map(|(_, core)| core.sessions()).ok_or_else(no_replica)?;
    let seeds = seed::plant(first).await?;
    let places = fleet
        .iter()
        .map(|(replica, core)| Place {
            server_id: core.sessions().server_id().to_string(),
            traffic: replica.address(),
            admin: replica.admin_address(),
        })
        .collect();
    let mut out = io::stdout();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let banner = Banner {
        places,
        seeds,
        cookie: config.cookie.name,
        colours,
    };
    // Piped into something that has gone, the fleet still serves.
    let _ = write!(out, "{banner}").and_then(|()| out.flush());
    serve_all(fleet, shutdown).await
}

/// The log would bury the curl lines: only what is wrong is told, unless a level was asked for.
fn level(loaded: &Loaded) -> &str {
    let row = loaded.rows.iter().find(|row| row.key == "log.level");
    match row {
        Some(row) if row.origin != Origin::Default => &loaded.config.log.level,
        _ => "warn",
    }
}

fn no_replica() -> Failure {
    Failure::Setting("--replicas: at least 1".to_owned())
}

async fn bind_fleet(config: &Config, count: u16, shutdown: &Shutdown) -> Result<Vec<(Replica, Core)>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let opened = runtime::open_memory(&clock, &random)?;
    let block = ports::free_block(config.server.listen.port(), config.server.admin_listen.port(), count)?;
    let mut fleet = Vec::new();
    for (index, (traffic, admin)) in block.into_iter().enumerate() {
        let mut own = config.clone();
        own.server.server_id = format!("dev-{}", index + 1);
        own.server.listen = SocketAddr::new(LOCALHOST, traffic);
        own.server.admin_listen = SocketAddr::new(LOCALHOST, admin);
        let metrics = Metrics::new()?;
        metrics.show_deployment(config.session.classes.keys().map(String::as_str), &own.server.server_id);
        let frame = Frame {
            webhooks: runtime::for_webhooks(&own, &metrics)?,
            metrics,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            callers: CallerAuth::Open,
            http: settings::for_http(&own),
            draining: shutdown.draining(),
            conditions: Conditions::unheard(),
        };
        let settings = Settings {
            cache: runtime::for_cache(&own, &*opened.transport, &Conditions::unheard()).await,
            redo_window: opened.redo_window,
            ..runtime::for_sessions(&own)?
        };
        let server_id = settings.server_id.clone();
        let replica = Replica::bind(plan(&own, frame.clone()))?;
        let core = frame.fill(settings, opened.clone());
        let values = Values::new(Arc::clone(&opened.values), Arc::clone(&random));
        let shop = shop(&core, values, own.http.trusted_proxies.clone())?;
        fleet.push((replica, core.beside(is_of_the_shop, shop)));
        // Known to all before any of them serves: none takes another for gone, and its sessions over.
        opened
            .membership
            .announce(&server_id, MemberState::Live, MEMBER_TIMEOUT)
            .await?;
    }
    Ok(fleet)
}

/// The demo application over a replica's own sessions; the root leads to it.
fn shop(core: &Core, values: Values, trusted_proxies: Vec<IpNet>) -> Result<Router, Failure> {
    let shop = shop::router(SHOP, core.sessions().clone(), values, trusted_proxies);
    let shop = shop.map_err(|error| Failure::Setting(format!("the shop: {error}")))?;
    Ok(shop.route("/", get(async || Redirect::to(SHOP))))
}

fn is_of_the_shop(path: &str) -> bool {
    let below = path.strip_prefix(SHOP);
    path == "/" || below.is_some_and(|page| page.is_empty() || page.starts_with('/'))
}

fn plan(config: &Config, frame: Frame) -> Plan {
    Plan {
        frame,
        listen: config.server.listen,
        admin_listen: config.server.admin_listen,
        tls: None,
        limits: settings::for_traffic(config),
        grace: Duration::ZERO,
        drain: DRAIN,
    }
}

/// Every line of the log names its server.
async fn serve_all(fleet: Vec<(Replica, Core)>, shutdown: Shutdown) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for (replica, core) in fleet {
        let shutdown = shutdown.clone();
        // The span is of the highest level: else a log of warnings would leave it out.
        let span = tracing::error_span!("replica", server_id = %core.sessions().server_id());
        let serving = async move { Box::pin(replica.run(std::future::ready(Ok(core)), &shutdown)).await };
        running.spawn(serving.instrument(span));
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}
