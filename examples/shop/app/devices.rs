use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Redirect;
use cloakroom::layer::Session;
use cloakroom::session::{Activity, Session as Record, UserId};
use maud::{Markup, html};
use serde::Deserialize;

use super::Shop;
use super::error::Failure;
use super::form::{Nothing, OwnForm};
use super::page::Page;

/// So many ends of sessions are shown.
const MOST_SHOWN: usize = 10;
/// For so long after a log-in devices can be logged out; later the user logs in once more (S25).
const RECENT: Duration = Duration::from_mins(10);

/// Where the user is logged in.
pub(crate) async fn list(State(shop): State<Shop>, session: Session) -> Result<Markup, Failure> {
    let (user, own) = logged_in(&shop, &session).await?;
    let devices = shop.sessions.sessions_of(&user).await?;
    let ends = shop.sessions.user_activities(&user).await?;
    let now = shop.sessions.now();
    let page = Page::of(&shop, &session, "Devices").await?;
    Ok(page.with(&html! {
        section.card {
            h1 { "Where you are logged in" }
            table #devices {
                thead { tr { th { "Device" } th { "Since" } th { "Last seen" } th { "Remembered" } th {} } }
                tbody {
                    @for device in &devices {
                        tr {
                            td { (name(device)) @if device.id == own.id { " " span.tag { "this device" } } }
                            td { (ago(now.since(device.created_at))) }
                            td { (ago(now.since(device.last_activity_at))) }
                            td { @if device.class.as_str() == "remember_me" { "yes" } @else { "until the browser closes" } }
                            td.number {
                                form method="post" action=(shop.url("/devices/end")) {
                                    (page.csrf())
                                    input type="hidden" name="device" value=(device.id);
                                    button.quiet { "Log out" }
                                }
                            }
                        }
                    }
                }
            }
            form method="post" action=(shop.url("/devices/everywhere")) {
                (page.csrf())
                button.danger #everywhere { "Log out everywhere" }
            }
        }
        @if !ends.is_empty() {
            section.card {
                h1 { "Recent activity" }
                ul #activity {
                    @for end in ends.iter().take(MOST_SHOWN) {
                        li { (in_words(end)) span.hint { " " (ago(now.since(end.at))) } }
                    }
                }
            }
        }
    }))
}

/// How a session ended, for its user.
fn in_words(end: &Activity) -> &'static str {
    let reason = end.metadata.get("reason").map_or("", |reason| reason.get());
    match (end.action.as_str(), reason.trim_matches('"')) {
        ("logout", _) => "Logged out on one device",
        (_, "user") => "Logged out everywhere",
        (_, "theft") => "A device was logged out, for its session may have been stolen",
        _ => "A device was logged out",
    }
}

/// Which device is meant.
#[derive(Deserialize)]
pub(crate) struct Device {
    device: String,
}

/// Logs one device out; an id that is not of this user's changes nothing.
pub(crate) async fn end(
    State(shop): State<Shop>,
    session: Session,
    OwnForm(form): OwnForm<Device>,
) -> Result<Redirect, Failure> {
    let (user, own) = logged_in(&shop, &session).await?;
    recently(&shop, &own)?;
    let devices = shop.sessions.sessions_of(&user).await?;
    let Some(device) = devices.iter().find(|device| device.id.to_string() == form.device) else {
        return Ok(Redirect::to(&shop.url("/devices")));
    };
    if device.id == own.id {
        session.log_out().await?;
    } else {
        shop.sessions.end(device.id, false).await?;
    }
    Ok(Redirect::to(&shop.url("/devices")))
}

/// Logs the user out on every device, with this one.
pub(crate) async fn log_out_everywhere(
    State(shop): State<Shop>,
    session: Session,
    _: OwnForm<Nothing>,
) -> Result<Redirect, Failure> {
    let (user, own) = logged_in(&shop, &session).await?;
    recently(&shop, &own)?;
    shop.sessions.end_user(&user, Some(own.id), false).await?;
    session.log_out().await?;
    Ok(Redirect::to(&shop.url("/log-in")))
}

async fn logged_in(shop: &Shop, session: &Session) -> Result<(UserId, Arc<Record>), Failure> {
    let record = session.record().await?;
    let known = record.and_then(|record| Some((record.user_id.clone()?, record)));
    known.ok_or_else(|| Failure::Elsewhere(shop.url("/log-in")))
}

fn recently(shop: &Shop, own: &Record) -> Result<(), Failure> {
    let now = shop.sessions.now();
    let is_recent = own.authenticated_at.is_some_and(|at| now.since(at) <= RECENT);
    is_recent
        .then_some(())
        .ok_or_else(|| Failure::Elsewhere(shop.url("/log-in")))
}

/// A browser and its system, as far as the user agent tells.
fn name(device: &Record) -> String {
    let agent = device.metadata.get("user_agent").map_or("", |agent| agent.get());
    let known = |names: &[(&'static str, &'static str)]| {
        let found = names.iter().find(|(mark, _)| agent.contains(mark));
        found.map(|(_, name)| *name)
    };
    let browser = known(&[
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "A device".to_owned(),
    }
}

fn ago(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
