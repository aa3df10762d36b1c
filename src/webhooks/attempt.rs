use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Serialize;

use super::Webhook;
use super::signature::signature;
use crate::session::Timestamp;
use crate::store::Event;

/// A pause that an endpoint asks for is kept up to this.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// What is delivered: made once, sent as often as it takes.
pub(super) struct Message {
    pub(super) id: String,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a, T> {
    r#type: String,
    timestamp: Timestamp,
    data: &'a T,
}

impl Message {
    /// An event. Its id stays the same however often it is sent: by it a receiver knows what it has had.
    pub(super) fn of(event: &Event) -> Self {
        let body = Body {
            r#type: format!("session.{}", event.kind.as_str()),
            timestamp: event.at,
            data: event,
        };
        Self {
            id: event.id.to_string(),
            body: serde_json::to_vec(&body).unwrap_or_default(),
        }
    }

    /// That events were lost to the receiver: it should look at what it holds.
    pub(super) fn gap(at: Timestamp) -> Self {
        let body = Body {
            r#type: "gap".to_owned(),
            timestamp: at,
            data: &serde_json::Map::<String, serde_json::Value>::new(),
        };
        Self {
            id: format!("gap-{}", at.as_millis()),
            body: serde_json::to_vec(&body).unwrap_or_default(),
        }
    }
}

/// How an attempt went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Delivered,
    /// It was answered otherwise; the endpoint may have asked for a pause.
    Refused(StatusCode, Option<Duration>),
    /// There was no answer.
    Unreachable(String),
}

impl Outcome {
    /// The name in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused(..) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// In words, for the log: nothing that the endpoint itself said.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Delivered => "delivered".to_owned(),
            Self::Refused(status, _) => format!("answered {}", status.as_u16()),
            Self::Unreachable(reason) => reason.clone(),
        }
    }
}

impl Webhook {
    /// Sends a message once, signed for now.
    pub(super) async fn attempt(&self, message: &Message, now: Timestamp) -> Outcome {
        let timestamp = now.as_millis() / 1000;
        let signed = signature(&self.keys(), &message.id, timestamp, &message.body);
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signed)
            .body(message.body.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Outcome::Delivered,
            Ok(answer) => {
                let asked = answer.headers().get(RETRY_AFTER);
                let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
                let pause = asked.map(|seconds| Duration::from_secs(seconds).min(LONGEST_ASKED));
                Outcome::Refused(answer.status(), pause)
            }
            Err(error) if error.is_timeout() => Outcome::Unreachable("no answer in time".to_owned()),
            Err(error) => Outcome::Unreachable(root_of(&error)),
        }
    }
}

/// The innermost cause: without the URL, which may hold a key.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
