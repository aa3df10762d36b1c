//! Metrics and logs.

mod logging;
mod metrics;

pub use logging::{LogFormat, install as install_logging};
pub use metrics::Metrics;
