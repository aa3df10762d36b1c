//! Webhooks: the fleet's events, delivered to endpoints over HTTP and signed as Standard Webhooks has it.
//!
//! The leader delivers. It reads the same feed as every listener, a few events of an endpoint at a time and in order, and
//! remembers in the store how far it has come: so another leader goes on from there, and every event is delivered at
//! least once for as long as the streams hold it. An endpoint that does not take its events holds up nobody but itself,
//! and takes no more memory than those few.

mod attempt;
mod deliver;
mod endpoint;
mod resolve;
mod signature;

pub use endpoint::{SigningKeys, Webhook};

use std::sync::Arc;

use futures_util::future::join_all;

use crate::sessions::Sessions;
use deliver::Delivery;

/// Delivers to all endpoints until it is dropped.
pub async fn deliver(sessions: Sessions, webhooks: Arc<[Webhook]>) {
    join_all(webhooks.iter().map(|webhook| Delivery::new(&sessions, webhook).run())).await;
}

/// Stops to show what waits: another server delivers.
pub fn hide(sessions: &Sessions, webhooks: &[Webhook]) {
    for webhook in webhooks {
        let metrics = sessions.metrics();
        metrics.webhook_lag.with_label_values(&[webhook.name()]).set(0.0);
        metrics.webhook_disabled.with_label_values(&[webhook.name()]).set(0);
    }
}
