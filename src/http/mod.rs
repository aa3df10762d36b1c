//! The HTTP faces: the JSON API, forward auth, the browser's endpoints and the admin listener.

pub mod admin;
mod audit;
mod browser;
pub mod caller;
mod conditional;
mod cors;
mod extract;
mod forward;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod head;
mod hits;
mod input;
pub mod listener;
mod middleware;
mod openapi;
mod problem;
mod question;
mod rendered;
mod route_metrics;
mod schema;
mod settings;
mod stale;
mod state;
mod throttle;
mod token_keys;
mod v1;
mod visitor;

pub use front::Front;
pub use openapi::openapi;
pub use settings::HttpSettings;
pub use state::ApiState;
pub use token_keys::TokenKeys;

use axum::Router;
use axum::routing::any;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::telemetry::Metrics;
use hits::Hits;

/// The traffic listener's whole surface, with its middleware.
pub fn service(state: ApiState) -> Front {
    let (router, description) = routes().split_for_parts();
    let router = router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(state.clone());
    let (router, stack) = middleware::apply(router, state.settings(), state.sessions().metrics(), &description);
    Front::new(Hits::new(state, stack), router)
}

/// What the traffic listener answers until the store is open: the truth about no session is known yet.
pub fn waiting_service(settings: &HttpSettings, metrics: &Metrics) -> Front {
    let nothing_known = async || problem::ApiError::Unavailable("the store has not answered since the start");
    let router = Router::new().fallback(nothing_known);
    let (router, _) = middleware::apply(router, settings, metrics, &openapi::base());
    Front::without_hits(router)
}

/// Every route with its description. There is no other way to add one: so none is left out of the description.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(v1::routes())
        .routes(routes!(browser::who_am_i, browser::log_out))
        .routes(routes!(browser::my_csrf_token))
        .routes(routes!(browser::my_devices))
        .routes(routes!(browser::end_device))
        .routes(routes!(browser::end_others))
        .routes(routes!(forward::authenticate).map(|_| any(forward::authenticate)))
        .routes(routes!(forward::authenticate_any_path).map(|_| any(forward::authenticate_any_path)))
        // The wildcard does not match the root.
        .route("/ext_authz/", any(forward::authenticate_any_path))
        .routes(routes!(openapi::describe))
}
