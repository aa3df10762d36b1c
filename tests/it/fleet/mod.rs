//! Three real `cloakroom serve` processes over a real Redis Cluster, asked by HTTP.

mod atomicity;
mod bad_input;
mod drain;
mod events;
mod limit;
mod logout;
mod outage;
mod roles;
mod sharing;
mod startup;

use crate::support::fleet::{Answer, BOUND, Fleet, Replica, SECRET, claims, jwt, segment};
