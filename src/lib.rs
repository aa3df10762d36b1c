//! Cloakroom: HTTP sessions shared by every replica of a service.
//!
//! For an application in Rust begin with [`layer`]; for the program, with its `--help`.
//!
//! Lower rooms know nothing of higher ones: [`session`] (the domain) and [`config`], [`telemetry`], [`web`]; [`store`] and
//! [`coherence`]; [`cluster`]; [`sessions`], the façade every face calls; [`values`] beside them; [`runtime`], which keeps it all going; [`http`],
//! [`layer`] and [`cli`], the faces.

extern crate self as cloakroom;

pub mod cli;
pub mod cluster;
pub mod coherence;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod layer;
pub mod runtime;
pub mod session;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod values;
pub mod web;
pub mod webhooks;

pub use runtime::Cloakroom;

/// The guides whose examples the tests compile and run.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../docs/axum.md")]
    struct Axum;
    #[doc = include_str!("../docs/from-express-session.md")]
    struct FromExpressSession;
    #[doc = include_str!("../docs/from-tower-sessions.md")]
    struct FromTowerSessions;
}
