use serde::Serialize;

use super::{JsonMap, Timestamp};

/// How many of a session's activities are kept, the newest.
pub const MAX_ACTIVITIES: usize = 100;

/// Something that a session's user did, as the application told it.
#[derive(Debug, Clone, Serialize)]
pub struct Activity {
    /// What was done, in the application's words.
    pub action: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// Whatever the application adds.
    pub metadata: JsonMap,
}
