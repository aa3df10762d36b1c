//! A small shop, as tutorials of sessions build it: a log-in that can be remembered, a cart, page views, a list of
//! devices with "log out everywhere", and a slow page that is computed once for everybody.
//!
//! Every page works without scripts; every form carries the CSRF token of its session.

mod account;
mod devices;
mod error;
mod form;
mod goods;
mod guesses;
mod page;
mod report;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use cloakroom::layer::{InvalidOptions, Options, SessionLayer};
use cloakroom::sessions::Sessions;
use cloakroom::values::Values;
use cloakroom::web::Secure;
use ipnet::IpNet;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shop {
    /// Where the shop lies: `/shop`, or nothing where it has the host for itself.
    base: &'static str,
    sessions: Sessions,
    values: Values,
}

impl Shop {
    /// The URL of a page.
    fn url(&self, page: &str) -> String {
        match (self.base, page) {
            ("", page) => page.to_owned(),
            (base, "/") => base.to_owned(),
            (base, page) => format!("{base}{page}"),
        }
    }
}

/// The shop below `base`, over these sessions; computed values and counts are kept in `values`. The client's address is
/// that which proxies in these networks name.
pub(crate) fn router(
    base: &'static str,
    sessions: Sessions,
    values: Values,
    trusted_proxies: Vec<IpNet>,
) -> Result<Router, InvalidOptions> {
    let options = Options {
        trusted_proxies,
        ..options()
    };
    let layer = SessionLayer::new(sessions.clone(), options)?;
    let shop = Shop { base, sessions, values };
    let pages = Router::new()
        .route("/", get(goods::home))
        .route("/cart", get(goods::cart).post(goods::add))
        .route("/log-in", get(account::page).post(account::log_in))
        .route("/log-out", post(account::log_out))
        .route("/devices", get(devices::list))
        .route("/devices/end", post(devices::end))
        .route("/devices/everywhere", post(devices::log_out_everywhere))
        .route("/report", get(report::page))
        .with_state(shop)
        .layer(layer)
        .route("/shop.css", get(page::style));
    let shop = if base.is_empty() {
        pages
    } else {
        Router::new().nest(base, pages)
    };
    Ok(shop.layer(middleware::from_fn(guarded)))
}

/// A cookie that ends with the browser, but for users who want to be remembered. `Secure` follows how the client spoke:
/// the shop is tried out over plain HTTP on one's own machine.
fn options() -> Options {
    Options::default().name("shop").secure(Secure::Auto).browser_lifetime()
}

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What browsers are told about every page (S42).
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'none'";
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
