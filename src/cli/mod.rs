//! The command line.

pub mod args;
pub mod config_cmd;
pub mod token;
