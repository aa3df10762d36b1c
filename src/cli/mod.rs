//! The command line.

pub mod args;
pub mod background;
pub mod client;
pub mod config_cmd;
pub mod signals;
pub mod token;
