//! Metrics, logs and traces.

mod declare;
mod known;
mod logging;
mod metrics;
mod reference;
pub mod trace;

pub use logging::{LogFormat, install as install_logging};
pub use metrics::Metrics;
pub use reference::{metric_names, metrics_page};
pub use trace::{Actor, Cause, Traces};
