//! The two applications that docs/from-express-session.md calls the same: the one in JavaScript as it stands there, with
//! real Express, and the one in Rust.

use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Router, serve};
use cloakroom::Cloakroom;
use cloakroom::layer::{Error, Options, Session, SessionLayer};
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Method, redirect};
use tokio::net::TcpListener;

use crate::express::node_modules;
use crate::support::process::Program;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/from-express-session.md");

async fn home(session: Session) -> Result<String, Error> {
    Ok(format!("{} views", session.increment("views", 1).await?))
}

async fn log_in(session: Session) -> Result<Redirect, Error> {
    session.log_in("dana").await?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, Error> {
    session.destroy().await?;
    Ok(Redirect::to("/"))
}

/// What a visitor sees of an application: the text or the place of each answer, and whether there is another cookie.
async fn visit(application: &str) -> Vec<(String, bool)> {
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let (mut cookie, mut seen) = (String::new(), Vec::new());
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/"),
        (Method::POST, "/login"),
        (Method::GET, "/"),
        (Method::GET, "/"),
        (Method::POST, "/logout"),
        (Method::GET, "/"),
    ] {
        let request = client.request(method, format!("http://{application}{path}"));
        let answer = request.header(COOKIE, &cookie).send().await.unwrap();
        let set = answer.headers().get(SET_COOKIE).map(|set| set.to_str().unwrap());
        let set = set.map(|set| set.split(';').next().unwrap().to_owned());
        let place = answer
            .headers()
            .get("location")
            .map(|place| place.to_str().unwrap().to_owned());
        let is_new = set
            .as_ref()
            .is_some_and(|set| set.starts_with("connect.sid=s%3A") && *set != cookie);
        cookie = set.unwrap_or(cookie);
        seen.push((place.unwrap_or(answer.text().await.unwrap()), is_new));
    }
    seen
}

#[tokio::test]
async fn the_applications_of_the_guide_from_express_session_are_the_same() {
    let cloakroom = Cloakroom::in_memory().await.unwrap();
    let sessions = SessionLayer::new(cloakroom.sessions(), Options::express(["new", "old"])).unwrap();
    let application = Router::new()
        .route("/", get(home))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .layer(sessions);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ours = tokio::spawn(serve(listener, application).into_future());
    let seen = visit(&address).await;
    ours.abort();
    let expected = ["1 views", "2 views", "/", "1 views", "2 views", "/", "1 views"];
    let texts: Vec<_> = seen.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, expected);
    let cookies: Vec<_> = seen.iter().map(|(_, is_new)| *is_new).collect();
    assert_eq!(cookies, [true, false, true, false, false, false, true]);

    let Some(modules) = node_modules() else {
        eprintln!("passed over: tests/run installs express and express-session where there is npm");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layer/guide.mjs");
    let arguments = [script, modules.to_str().unwrap(), GUIDE];
    let express = Program::start("node".as_ref(), &arguments, &[]);
    let address = express.listener("traffic").await.to_string();
    assert_eq!(visit(&address).await, seen, "Express shows the same");
}
