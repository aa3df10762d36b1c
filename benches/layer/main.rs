//! What the tower layer costs: an axum application with it, answering from memory, against the same application without.
//!
//! Both run in this process, without sockets, and take turns in every round; what is reported is CPU time of the process,
//! medians over the rounds. `--count CASE REQUESTS` runs one case only, for tools that count instructions:
//! `tests/bench/layer` does that with callgrind, for two numbers of requests, so that all but the requests cancels out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on should stop here and say why"
)]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cloakroom::Cloakroom;
use cloakroom::layer::{Error, Options, Session, SessionLayer};
use cloakroom::session::{ManualClock, Timestamp};
use http::Request;
use http_body_util::BodyExt as _;
use rustix::time::{ClockId, clock_gettime};
use tower::ServiceExt as _;

const ROUNDS: usize = 41;
const REQUESTS: u32 = 4_000;
/// After so many requests the runtime's other tasks have their turn, as between the requests of a server: they keep memory
/// covered, and without cover it answers nothing.
const AT_ONCE: u32 = 50;

/// The names of the cases, in order; the first is what the others are held against.
const CASES: [&str; 5] = [
    "without the layer",
    "with it, session not asked for",
    "user id, from memory",
    "user id, from memory, signed cookie",
    "a typed value, from memory",
];

/// An application and the cookie that its requests carry.
struct Case {
    application: Router,
    cookie: String,
}

async fn plain() -> &'static str {
    "hello, dana"
}

async fn user(session: Session) -> Result<&'static str, Error> {
    let user = session.user_id().await?;
    assert!(user.is_some(), "the session is there");
    Ok("hello, dana")
}

async fn value(session: Session) -> Result<&'static str, Error> {
    let theme: Option<String> = session.get("theme").await?;
    assert_eq!(theme.as_deref(), Some("dark"));
    Ok("hello, dana")
}

async fn log_in(session: Session) -> Result<String, Error> {
    session.set("theme", "dark").await?;
    session
        .log_in(cloakroom::layer::LogIn::user("dana").keep(["theme"]))
        .await?;
    Ok(String::new())
}

async fn cases(cloakroom: &Cloakroom) -> Vec<Case> {
    let layer = |options| SessionLayer::new(cloakroom.sessions(), options).unwrap();
    let signed = || Options::default().secrets(["a secret"]);
    let routes = || {
        Router::new()
            .route("/plain", get(plain))
            .route("/user", get(user))
            .route("/value", get(value))
            .route("/log-in", get(log_in))
    };
    let (unsigned_layer, signed_layer) = (layer(Options::default()), layer(signed()));
    let cookie = logged_in(routes().layer(unsigned_layer.clone())).await;
    let signed_cookie = logged_in(routes().layer(signed_layer.clone())).await;
    let at = |path: &str, layer: Option<&SessionLayer>| {
        let handler = match path {
            "user" => get(user),
            "value" => get(value),
            _ => get(plain),
        };
        let application = Router::new().route("/", handler);
        match layer {
            Some(layer) => application.layer(layer.clone()),
            None => application,
        }
    };
    [
        (at("plain", None), &cookie),
        (at("plain", Some(&unsigned_layer)), &cookie),
        (at("user", Some(&unsigned_layer)), &cookie),
        (at("user", Some(&signed_layer)), &signed_cookie),
        (at("value", Some(&unsigned_layer)), &cookie),
    ]
    .map(|(application, cookie)| Case {
        application,
        cookie: cookie.clone(),
    })
    .into()
}

async fn logged_in(application: Router) -> String {
    let request = Request::get("/log-in").body(Body::empty()).unwrap();
    let response = application.oneshot(request).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// A request as a browser sends it.
fn request(cookie: &str) -> Request<Body> {
    Request::get("/")
        .header("host", "shop.example")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("cookie", format!("theme=dark; {cookie}; consent=yes"))
        .header("sec-fetch-site", "same-origin")
        .body(Body::empty())
        .unwrap()
}

async fn run(case: &Case, requests: u32) {
    for request_number in 0..requests {
        if request_number % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        let response = case.application.clone().oneshot(request(&case.cookie)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"hello, dana");
    }
}

/// CPU time that this process has used, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let counting = arguments.first().is_some_and(|argument| argument == "--count");
    let cloakroom = if counting {
        // Valgrind has no page of the kernel's from which the machine's clock is read: this one stands still.
        let clock = ManualClock::new(Timestamp::from_millis(1_800_000_000_000));
        Cloakroom::builder().clock(Arc::new(clock)).open().await.unwrap()
    } else {
        Cloakroom::in_memory().await.unwrap()
    };
    while !cloakroom.is_ready() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cases = cases(&cloakroom).await;
    if let [count, case, requests] = &arguments[..] {
        assert_eq!(count, "--count", "usage: layer [--count CASE REQUESTS]");
        run(&cases[case.parse::<usize>().unwrap()], requests.parse().unwrap()).await;
        return;
    }
    let read_from_store = || cloakroom.metrics().reads.with_label_values(&["store"]).get();
    let (mut rounds, mut read_at_first) = (vec![Vec::new(); cases.len()], 0);
    for round in 0..=ROUNDS {
        for (case, times) in cases.iter().zip(&mut rounds) {
            let before = cpu_time();
            run(case, REQUESTS).await;
            let each = cpu_time().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(REQUESTS);
            // The first round fills memory and caches.
            if round > 0 {
                times.push(each);
            } else {
                read_at_first = read_from_store();
            }
        }
    }
    assert_eq!(
        read_from_store(),
        read_at_first,
        "memory answered all that was measured"
    );
    println!("| application | CPU us a request | more than without | ratio |");
    println!("|---|---|---|---|");
    let bare = rounds[0].clone();
    for (name, times) in CASES.iter().zip(&rounds) {
        let more = median(times.iter().zip(&bare).map(|(time, bare)| time - bare).collect());
        let ratio = median(times.iter().zip(&bare).map(|(time, bare)| time / bare).collect());
        println!("| {name} | {:.2} | {more:.2} | {ratio:.2} |", median(times.clone()));
    }
    cloakroom.close().await;
}
