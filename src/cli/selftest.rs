//! `cloakroom selftest`: the life of one session, through a running service.

use serde_json::{Value, json};

use super::args::ClientFlags;
use super::client::{Client, ClientError};
use super::token::{self, TokenError};
use crate::config::{JwtSettings, Period, Secret};
use crate::session::Clock;

/// What the steps need: making and ending sessions.
const SCOPE: &str = "sessions:write";
/// A token that leaks from a test is of no use soon after it.
const TOKEN_TTL: Period = Period::from_mins(1);

/// What was found wrong.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The service did not do what it was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The service answered, and the answer is not true.
    #[error("{url} answered, but {what}")]
    Untrue {
        /// The service.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Makes a session, validates its token, ends it, and validates the token again.
pub async fn run(service: &ClientFlags, jwt: &JwtSettings, clock: &dyn Clock) -> Result<(), SelftestError> {
    let client = Client::new(&service.url, credential(service, jwt, clock)?)?;
    let untrue = |what| SelftestError::Untrue {
        url: service.url.clone(),
        what,
    };
    let made = client.post(&["v1", "sessions"], &json!({"class": "temporary"})).await?;
    let (Some(token), Some(id)) = (made["token"].as_str(), made["session"]["id"].as_str()) else {
        return Err(untrue("made a session without a token and an id"));
    };
    let judged = validate(&client, token).await?;
    if judged["valid"] != json!(true) || judged["session"]["id"] != made["session"]["id"] {
        client.end_session(id).await?;
        return Err(untrue(
            "the token that it has just made opens no session, or another one",
        ));
    }
    client.end_session(id).await?;
    if validate(&client, token).await?["valid"] != json!(false) {
        return Err(untrue("the token of a session that has ended still opens it"));
    }
    Ok(())
}

fn credential(service: &ClientFlags, jwt: &JwtSettings, clock: &dyn Clock) -> Result<Option<String>, TokenError> {
    match &service.token {
        Some(token) => Ok(Some(Secret::expose(token).to_owned())),
        None if jwt.secret.is_some() => {
            let now = clock.now().as_millis() / 1000;
            token::mint(jwt, SCOPE, TOKEN_TTL, now).map(Some)
        }
        None => Ok(None),
    }
}

/// Asks the store itself: behind a Service the next server has another memory.
async fn validate(client: &Client, token: &str) -> Result<Value, ClientError> {
    let question = json!({"token": token, "consistency": "strong"});
    client.post(&["v1", "sessions", "validate"], &question).await
}
