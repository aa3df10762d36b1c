use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::sessions::ReadQuery;
use crate::http::caller::{Reader, Writer};
use crate::http::extract::{JsonBody, QueryParams, SessionPath};
use crate::http::input::invalid;
use crate::http::openapi::{ChangeProblems, ReadProblems};
use crate::http::problem::ApiError;
use crate::http::schema;
use crate::http::state::ApiState;
use crate::session::CartItem;

/// The lines of a cart.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Cart {
    #[schema(value_type = Vec<schema::CartItem>)]
    items: Vec<CartItem>,
}

/// Adds to the cart; a product that is there already gets more of it.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/cart/items", tag = "sessions", operation_id = "add_to_cart",
    security(("bearer" = ["sessions:write"])),
    params(("id" = String, Path)),
    request_body = schema::CartItem,
    responses((status = 200, description = "The cart", body = Cart), ChangeProblems)
)]
pub(in crate::http) async fn add(
    _: Writer,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    JsonBody(item): JsonBody<CartItem>,
) -> Result<Json<Cart>, ApiError> {
    item.check().map_err(|(field, rule)| invalid(field, &rule))?;
    let items = state.sessions().add_to_cart(id, item).await?;
    Ok(Json(Cart { items }))
}

/// The cart; empty where nothing was added yet.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/cart", tag = "sessions", operation_id = "read_cart",
    security(("bearer" = ["sessions:read"])),
    params(("id" = String, Path), ReadQuery),
    responses((status = 200, description = "The cart", body = Cart), ReadProblems)
)]
pub(in crate::http) async fn read(
    _: Reader,
    State(state): State<ApiState>,
    SessionPath(id): SessionPath,
    QueryParams(query): QueryParams<ReadQuery>,
) -> Result<Json<Cart>, ApiError> {
    let items = state.sessions().cart(id, query.freshness()).await?;
    Ok(Json(Cart { items }))
}
