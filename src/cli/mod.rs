//! The command line.

pub mod args;
pub mod background;
pub mod callers;
pub mod client;
pub mod config_cmd;
pub mod dev;
mod failure;
pub mod kubernetes;
pub mod replica;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod store;
pub mod token;

pub use failure::Failure;
