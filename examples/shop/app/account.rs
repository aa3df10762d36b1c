use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::layer::{LogIn, Session};
use maud::{Markup, html};
use serde::Deserialize;

use super::Shop;
use super::error::Failure;
use super::form::{Nothing, OwnForm};
use super::guesses;
use super::page::Page;

/// As many rounds as OWASP's password storage cheat sheet asks for.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// A user, the salt, and the hash of the password `umbrella`.
const USERS: [(&str, &[u8], &str); 2] = [
    (
        "dana",
        b"cloakroom-shop-dana",
        "1qn54kDyRftYJu27CdjFvIMw9gHYuF171dNrpfqviDU",
    ),
    (
        "sam",
        b"cloakroom-shop-sam",
        "0OAYaLHs-ZVOe8L24XilnVOvz-ZmiUT5XBmuRQ5OubE",
    ),
];

/// The log-in page.
pub(crate) async fn page(State(shop): State<Shop>, session: Session) -> Result<Markup, Failure> {
    form(&shop, &session, None).await
}

async fn form(shop: &Shop, session: &Session, complaint: Option<&str>) -> Result<Markup, Failure> {
    let page = Page::of(shop, session, "Log in").await?;
    Ok(page.with(&html! {
        section.card.narrow {
            h1 { "Welcome back" }
            @if let Some(complaint) = complaint { p.complaint role="alert" { (complaint) } }
            form method="post" action=(shop.url("/log-in")) {
                (page.csrf())
                label { "Name" input name="user" autocomplete="username" required autofocus; }
                label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                label.check { input name="remember" type="checkbox" value="yes"; "Remember me on this device" }
                button #log-in { "Log in" }
            }
            p.hint { "Try " b { "dana" } " or " b { "sam" } ", with the password " b { "umbrella" } "." }
        }
    }))
}

/// The log-in form.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    user: String,
    password: String,
    #[serde(default)]
    remember: Option<String>,
}

/// Logs in: a new token for the session, which keeps the cart and the page views, and nothing else.
pub(crate) async fn log_in(
    State(shop): State<Shop>,
    session: Session,
    OwnForm(credentials): OwnForm<Credentials>,
) -> Result<Response, Failure> {
    let remembered = credentials.remember.is_some();
    let user = credentials.user.trim().to_lowercase();
    if let Some(left) = guesses::too_many(&shop, &session, &user).await? {
        let seconds = left.as_secs() + 1;
        let complaint = format!("Too many attempts. Please try again in {} min.", seconds.div_ceil(60));
        let page = form(&shop, &session, Some(&complaint)).await?;
        return Ok((
            StatusCode::TOO_MANY_REQUESTS,
            [(RETRY_AFTER, seconds.to_string())],
            page,
        )
            .into_response());
    }
    if !is_right(user.clone(), credentials.password).await {
        // The same words for an unknown name and for a wrong password.
        let page = form(&shop, &session, Some("That name and password do not go together.")).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    guesses::forget(&shop, &user).await?;
    let class = if remembered { "remember_me" } else { "normal" };
    session
        .log_in(LogIn::user(user).class(class).keep(["cart", "views"]))
        .await?;
    Ok(Redirect::to(&shop.url("/")).into_response())
}

/// Logs out, everywhere where this session is open.
pub(crate) async fn log_out(
    State(shop): State<Shop>,
    session: Session,
    _: OwnForm<Nothing>,
) -> Result<Redirect, Failure> {
    session.log_out().await?;
    Ok(Redirect::to(&shop.url("/log-in")))
}

/// Whether the password is the user's. An unknown name takes as long as a wrong password.
async fn is_right(user: String, password: String) -> bool {
    let check = move || {
        let known = USERS.iter().find(|(name, ..)| *name == user);
        let (_, salt, hash) = known.unwrap_or(&USERS[0]);
        let expected = URL_SAFE_NO_PAD.decode(hash).unwrap_or_default();
        let matches = pbkdf2::verify(PBKDF2_HMAC_SHA256, ROUNDS, salt, password.as_bytes(), &expected);
        matches.is_ok() && known.is_some()
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}
