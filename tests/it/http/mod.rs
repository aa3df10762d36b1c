//! The traffic listener's routes, over the embedded store.

mod bad_input;
mod callers;
mod events;
mod faces;
mod fleet;
mod hits;
mod issuing;
mod limits;
mod openapi;
mod sessions;

pub(crate) use crate::support::api::{Answer, Api, NOBODY, NOW, Setup, path_of};
