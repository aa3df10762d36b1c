//! The API for applications, one file a resource.

mod activity;
mod cart;
mod data;
mod events;
mod exchange;
mod fleet;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod rotate;
mod sessions;
mod users;
pub(super) mod validate;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::ApiState;

/// Where tokens are judged.
pub(super) const VALIDATE_PATH: &str = "/v1/sessions/validate";
/// One session.
pub(super) const SESSION_PATH: &str = "/v1/sessions/{id}";
/// The stream of events, which is exempt from the request timeout.
pub(super) const EVENTS_PATH: &str = "/v1/events";

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::default()
        .routes(routes!(sessions::create, fleet::list, fleet::end_all))
        .routes(routes!(validate::validate))
        .routes(routes!(sessions::read, sessions::change, sessions::end))
        .routes(routes!(sessions::touch))
        .routes(routes!(sessions::migrate))
        .routes(routes!(rotate::rotate))
        .routes(routes!(validate::verify_csrf))
        .routes(routes!(data::value, data::set, data::remove))
        .routes(routes!(data::increment))
        .routes(routes!(cart::add))
        .routes(routes!(cart::read))
        .routes(routes!(activity::list, activity::record))
        .routes(routes!(activity::list_of_user))
        .routes(routes!(users::list, users::end))
        .routes(routes!(fleet::stats))
        .routes(routes!(fleet::servers))
        .routes(routes!(exchange::exchange))
        .routes(routes!(exchange::published))
        .routes(routes!(events::events))
}
