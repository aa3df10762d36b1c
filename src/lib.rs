//! Cloakroom: HTTP sessions shared by every replica of a service.
//!
//! Lower rooms know nothing of higher ones: [`session`] (the domain) and [`config`], [`telemetry`]; [`store`] and
//! [`coherence`]; [`cluster`]; [`sessions`], the façade every face calls; [`http`] and [`cli`], the faces.

pub mod cli;
pub mod cluster;
pub mod coherence;
pub mod config;
pub mod http;
pub mod runtime;
pub mod session;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod web;
pub mod webhooks;

pub use runtime::Cloakroom;
