//! `cloakroom serve`: one server of a fleet.

use std::sync::Arc;
use std::time::Duration;

use super::args::ServeArgs;
use super::callers::Callers;
use super::failure::Failure;
use super::replica::{Core, Frame, Plan, Replica};
use super::settings;
use super::signals::Shutdown;
use super::traces;
use crate::cluster::Conditions;
use crate::config::{Config, LogSettings};
use crate::http::HttpSettings;
use crate::http::listener::Tls;
use crate::runtime::{self, InKubernetes};
use crate::session::{Clock, Random, SystemClock, SystemRandom};
use crate::sessions::Settings;
use crate::telemetry::{self, LogFormat, Metrics};

/// How long load balancers have to notice that a server is unready, at most; a quarter of the drain where that is less.
const LONGEST_GRACE: Duration = Duration::from_secs(5);
/// How long the collector has for the traces of the last requests.
const LAST_TRACES: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT.
pub async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let config = args.settings.load()?.config;
    config.validate_for_serve()?;
    install_log(&config.log, &config.log.level)?;
    let shutdown = Shutdown::on_signals()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = runtime::for_sessions(&config)?;
    let kubernetes = InKubernetes::open(&config.kubernetes, &settings.server_id, &clock).await?;
    let callers = Callers::from_settings(&config, kubernetes.as_ref().map(InKubernetes::client), &clock);
    warn_of_what_is_not_for_production(&config);
    let metrics = Metrics::new()?;
    metrics.show_deployment(settings.classes.names(), settings.server_id.as_str());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let (traces, exporting) = traces::begin(&config, &metrics, &*random)?;
    let webhooks = runtime::for_webhooks(&config, &metrics)?;
    let frame = Frame {
        metrics,
        clock,
        random,
        callers: callers.auth.clone(),
        http: HttpSettings {
            traces,
            ..settings::for_http(&config)
        },
        webhooks,
        draining: shutdown.draining(),
        conditions: kubernetes
            .as_ref()
            .map_or_else(Conditions::unheard, InKubernetes::conditions),
    };
    let replica = Replica::bind(plan(&config, frame.clone())?)?;
    let core = Box::pin(open_core(&config, settings, frame, kubernetes.as_ref()));
    let outcome = Box::pin(replica.run(core, &shutdown)).await;
    exporting.flush(LAST_TRACES).await;
    outcome
}

fn plan(config: &Config, frame: Frame) -> Result<Plan, Failure> {
    let tls = config.tls.pair().map(|(certificate, key)| Tls::load(certificate, key));
    let drain = config.shutdown.drain.get();
    let local = config.server.listen.ip().is_loopback();
    Ok(Plan {
        frame,
        listen: config.server.listen,
        admin_listen: config.server.admin_listen,
        tls: tls.transpose()?.map(Arc::new),
        limits: settings::for_traffic(config),
        // No load balancer sends to loopback.
        grace: if local {
            Duration::ZERO
        } else {
            LONGEST_GRACE.min(drain / 4)
        },
        drain,
    })
}

/// Waits for the store, for as long as that takes.
async fn open_core(
    config: &Config,
    settings: Settings,
    frame: Frame,
    kubernetes: Option<&InKubernetes>,
) -> Result<Core, Failure> {
    let opened = runtime::open_store(config, &frame.clock, &frame.random, &frame.metrics, &frame.conditions).await?;
    let opened = match kubernetes {
        Some(kubernetes) => kubernetes.take_over(opened),
        None => opened,
    };
    let cache = runtime::for_cache(config, &*opened.transport, &frame.conditions).await;
    let redo_window = opened.redo_window;
    let settings = Settings {
        redo_window,
        cache,
        ..settings
    };
    Ok(frame.fill(settings, opened))
}

fn warn_of_what_is_not_for_production(config: &Config) {
    if !config.authenticates_callers() {
        tracing::warn!(
            listen = %config.server.listen,
            "callers are not authenticated: every caller on this host counts as admin; set jwt.secret, jwt.jwks_url or \
             kubernetes.service_accounts"
        );
    }
}

/// Installs the log as the settings say.
pub(super) fn install_log(log: &LogSettings, level: &str) -> Result<(), Failure> {
    use crate::config::LogFormat as Configured;

    let format = match log.format {
        Some(Configured::Json) => LogFormat::Json,
        Some(Configured::Pretty) => LogFormat::Pretty,
        None => LogFormat::by_terminal(),
    };
    telemetry::install_logging(format, level).map_err(Failure::Setting)
}
