//! What Kubernetes knows of the fleet: who is in it, who leads, who its callers are; and where it is told what is abnormal.
//!
//! Nothing here is needed to answer for a session: while the API server is away, the fleet stays what it was.

mod client;
mod endpoints;
mod events;
mod lease;
mod review;

pub use client::{Kubernetes, Unusable};
pub use endpoints::EndpointsMembership;
pub use events::publish;
pub use lease::LeaseLeadership;
pub use review::{AccountReviewer, TokenReviewer};
