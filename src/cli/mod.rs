//! The command line.

pub mod args;
pub mod callers;
pub mod client;
pub mod config_cmd;
pub mod dev;
mod failure;
pub mod replica;
pub mod selftest;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod token;
mod traces;

pub use failure::Failure;
