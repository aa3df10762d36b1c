//! What the tests on Kubernetes stand on: a cluster, a namespace for each test, releases of the chart.
#![allow(dead_code, reason = "a fixture offers more verbs than today's tests use")]

pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod release;
