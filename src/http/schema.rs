//! How the API's description shows what the domain serializes.
#![expect(dead_code, reason = "these types are described, never made")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A session. It never contains the token.
#[derive(ToSchema)]
pub(super) struct Session {
    /// The public handle; no credential.
    #[schema(example = "a7n3VvJq0uN1x8Kc2ZrT5yQw")]
    id: String,
    /// Null in an anonymous session.
    user_id: Option<String>,
    class: String,
    roles: Vec<String>,
    permissions: Vec<String>,
    /// The application's values, as they were written.
    data: BTreeMap<String, Value>,
    metadata: BTreeMap<String, Value>,
    security: Security,
    #[schema(format = DateTime)]
    created_at: String,
    /// The last recorded activity.
    #[schema(format = DateTime)]
    last_activity_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    #[schema(format = DateTime)]
    absolute_expires_at: String,
    #[schema(format = DateTime)]
    authenticated_at: Option<String>,
    /// Rises with every change that readers must see.
    version: u64,
    data_bytes: u64,
    /// The server where it is homed.
    server_id: String,
    #[schema(format = DateTime)]
    migrated_at: Option<String>,
    migrations: u32,
    previous_server_id: Option<String>,
}

/// What the application notes about a session's safety.
#[derive(ToSchema)]
pub(super) struct Security {
    login_attempts: u32,
    suspicious: bool,
    #[schema(format = DateTime)]
    last_password_change: Option<String>,
}

/// Something that a session's user did.
#[derive(ToSchema)]
pub(super) struct Activity {
    action: String,
    #[schema(format = DateTime)]
    at: String,
    metadata: BTreeMap<String, Value>,
}

/// A line of a cart.
#[derive(ToSchema)]
pub(super) struct CartItem {
    #[schema(min_length = 1, max_length = 256)]
    product_id: String,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    quantity: u64,
}
