use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use bytes::Bytes;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi as _};

use super::problem::Problem;
use super::state::ApiState;

/// The API's description, generated from the code that answers.
pub fn openapi() -> OpenApi {
    super::routes().into_openapi()
}

/// What the routes are added to.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Cloakroom", description = "HTTP sessions shared by every replica of a service"),
    modifiers(&Credentials),
    components(schemas(Problem)),
    tags(
        (name = "sessions", description = "For applications: sessions, by a caller's JWT"),
        (name = "fleet", description = "For operators: all sessions, servers and events"),
        (name = "browsers", description = "For browsers: the cookie is the credential"),
        (name = "gateways", description = "For gateways: forward auth"),
    )
)]
struct Base;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.bearer_format = Some("JWT".to_owned());
        bearer.description = Some(
            "Scopes in the claim `scope`: sessions:read; sessions:write, which includes it; sessions:admin, which \
             includes both"
                .to_owned(),
        );
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description("__Host-cloakroom", "The session cookie; its name is configurable");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let header = ApiKeyValue::with_description("Authorization", "`Session <token>`, where it is enabled");
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "fleet", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn describe(State(state): State<ApiState>) -> impl IntoResponse {
    let description = state.description(|| Bytes::from(openapi().to_json().unwrap_or_default()));
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "public, max-age=60"),
    ];
    (headers, description)
}

/// Declares a set of problems by status, each with its codes.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident { $($status:literal: $codes:literal,)* })*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status, $codes)),*]
                    .into_iter()
                    .map(|(status, codes)| (status.to_owned(), RefOr::T(problem(codes))))
                    .collect()
            }
        }
    )*};
}

problems! {
    /// What a read of one session can be answered with.
    ReadProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "404": "session_not_found",
        "431": "headers_too_large",
        "503": "store_unavailable, authentication_unavailable",
    }
    /// What the read of a data key can be answered with.
    KeyProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "404": "session_not_found, key_not_found",
        "431": "headers_too_large",
        "503": "store_unavailable, authentication_unavailable",
    }
    /// What a change of a session can be answered with.
    ChangeProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "404": "session_not_found",
        "409": "not_a_number (increment only)",
        "412": "version_conflict",
        "413": "session_too_large, body_too_large",
        "431": "headers_too_large",
        "503": "store_unavailable, authentication_unavailable",
    }
    /// What making a session can be answered with.
    IssueProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "404": "session_not_found (rotation only)",
        "409": "too_many_sessions",
        "413": "session_too_large, body_too_large",
        "431": "headers_too_large",
        "503": "store_unavailable, authentication_unavailable",
    }
    /// What an end can be answered with.
    EndProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "431": "headers_too_large",
        "503": "store_unavailable, not_confirmed, authentication_unavailable",
    }
    /// What needs no session of its own can be answered with.
    FleetProblems {
        "400": "invalid_request",
        "401": "unauthorized",
        "403": "forbidden",
        "413": "body_too_large",
        "431": "headers_too_large",
        "503": "store_unavailable, authentication_unavailable",
    }
    /// What browsers and gateways can be answered with.
    GateProblems {
        "400": "invalid_request",
        "401": "session_not_found, session_expired; the same in X-Auth-Reason",
        "403": "forbidden, csrf_mismatch, fingerprint_mismatch, reauthentication_required",
        "429": "throttled",
        "431": "headers_too_large",
        "503": "store_unavailable",
    }
    /// What needs neither credential nor store can be answered with.
    FormProblems {
        "400": "invalid_request",
        "431": "headers_too_large",
    }
    /// What a log-out can be answered with.
    LeaveProblems {
        "400": "invalid_request",
        "403": "csrf_mismatch",
        "429": "throttled",
        "431": "headers_too_large",
        "503": "store_unavailable",
    }
}

fn problem(codes: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(codes)
        .content("application/problem+json", content)
        .build()
}
