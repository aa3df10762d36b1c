//! Metrics and logs.

mod declare;
mod known;
mod logging;
mod metrics;
mod reference;

pub use logging::{LogFormat, install as install_logging};
pub use metrics::Metrics;
pub use reference::{metric_names, metrics_page};
