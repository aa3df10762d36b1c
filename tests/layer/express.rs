//! Cookies exchanged with a real Express application, in both directions.

use std::path::PathBuf;

use cloakroom::layer::Options;
use serde_json::{Value, json};

use crate::site::{Browser, places};
use crate::support::process::Program;

const COOKIE: &str = "connect.sid";

/// Where `tests/run` puts express and express-session.
pub(crate) fn node_modules() -> Option<PathBuf> {
    let given = std::env::var_os("CLOAKROOM_TEST_NODE_MODULES").map(PathBuf::from);
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/express-5.3.0-1.19.0/node_modules");
    let modules = given.unwrap_or_else(usual);
    modules.join("express-session").is_dir().then_some(modules)
}

/// An Express application that gives its sessions this id.
struct Express {
    url: String,
    _program: Program,
}

impl Express {
    async fn start(modules: &std::path::Path, secrets: &str, id: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/browser/express.mjs");
        let arguments = [script, modules.to_str().expect("a path in UTF-8"), secrets, id];
        let program = Program::start("node".as_ref(), &arguments, &[]);
        let url = format!("http://{}/", program.listener("traffic").await);
        Self { url, _program: program }
    }

    /// What it counts for this cookie, and the cookie that it sets.
    async fn views(&self, cookie: Option<&str>) -> (u64, Option<String>) {
        let mut asked = reqwest::Client::new().get(&self.url);
        if let Some(value) = cookie {
            asked = asked.header("cookie", format!("{COOKIE}={value}"));
        }
        let answer = asked.send().await.expect("an answer");
        let set = answer.headers().get("set-cookie").map(|set| {
            let set = set.to_str().expect("text");
            let pair = set.split(';').next().unwrap_or_default();
            pair.split_once('=').expect("a name and a value").1.to_owned()
        });
        let body: Value = answer.json().await.expect("JSON");
        (body["views"].as_u64().expect("a number"), set)
    }
}

async fn user_with(browser: &Browser, cookie: &str) -> Value {
    let mut browser = browser.clone();
    browser.jar.insert(COOKIE.to_owned(), cookie.to_owned());
    browser.ask(&["user"]).await
}

#[tokio::test]
async fn t4_express_session_and_the_layer_take_each_others_cookies() {
    let Some(modules) = node_modules() else {
        eprintln!("passed over: tests/run installs express and express-session where there is npm");
        return;
    };
    for place in places().await {
        let site = place.site(Options::express(["new", "old"]));
        let mut browser = site.browser();
        let made = browser.run(json!([["log_in", "dana"], ["issued_token"]])).await;
        let (token, ours) = (made[1].as_str().unwrap(), browser.jar[COOKIE].clone());
        assert!(ours.starts_with("s%3A"), "{ours}");

        let current = Express::start(&modules, "new", token).await;
        let (first, theirs) = current.views(None).await;
        let theirs = theirs.expect("express-session sets a cookie");
        assert_eq!((first, &theirs), (1, &ours), "to the byte: {}", place.name);
        assert_eq!(
            user_with(&site.browser(), &theirs).await,
            "dana",
            "the layer takes its cookie"
        );
        let (second, set) = current.views(Some(&ours)).await;
        assert_eq!((second, set), (2, None), "it takes the layer's cookie");

        let former = Express::start(&modules, "old,older", token).await;
        let (_, theirs) = former.views(None).await;
        assert_eq!(
            user_with(&site.browser(), &theirs.unwrap()).await,
            "dana",
            "signed by an older secret"
        );
        let (alone, set) = former.views(Some(&ours)).await;
        assert_eq!((alone, set.is_some()), (1, true), "it does not know the new secret");

        let stranger = Express::start(&modules, "another", token).await;
        let (_, theirs) = stranger.views(None).await;
        assert_eq!(user_with(&site.browser(), &theirs.unwrap()).await, Value::Null);
    }
}

#[tokio::test]
async fn t3_the_preset_sets_connect_sid_as_express_does() {
    for place in places().await {
        let mut browser = place.site(Options::express(["secret"])).browser();
        let answer = browser.answer(json!([["set", "a", 1]])).await;
        let cookie = answer.cookies()[0].to_owned();
        let (value, attributes) = cookie.split_once("; ").unwrap();
        assert!(value.starts_with("connect.sid=s%3A"), "{cookie}");
        assert_eq!(
            attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=604800",
            "{}",
            place.name
        );
        let bare = value.trim_start_matches("connect.sid=s%3A").split('.').next().unwrap();
        assert_eq!(user_with(&browser, bare).await, Value::Null, "unsigned");
        assert_eq!(browser.ask(&["get", "a"]).await, 1);
    }
}
