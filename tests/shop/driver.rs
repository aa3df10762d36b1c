//! Chromium by the W3C `WebDriver` protocol, as much of it as these tests need.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// The key under which an answer names an element (`WebDriver`, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A driver, which starts browsers.
pub(crate) struct Driver {
    url: String,
    _program: Program,
}

/// A running browser with one window.
pub(crate) struct Browser<'a> {
    driver: &'a Driver,
    session: String,
}

impl Driver {
    /// The driver of this machine; nothing where there is none, or no browser.
    pub(crate) async fn start() -> Option<Self> {
        let is_there = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
        };
        if !is_there("chromedriver") || !is_there("chromium") {
            eprintln!("passed over: tests/run installs chromium and chromium-driver on Debian as root");
            return None;
        }
        let port = free_address().port();
        let argument = format!("--port={port}");
        let program = Program::start("chromedriver".as_ref(), &[&argument], &[]);
        let driver = Self {
            url: format!("http://127.0.0.1:{port}"),
            _program: program,
        };
        eventually(SOON, "chromedriver to be ready", async || {
            let answer = reqwest::get(format!("{}/status", driver.url)).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Some(driver)
    }

    /// A browser with this profile: what it stores outlives it, as on a person's machine.
    pub(crate) async fn browser(&self, profile: &Path) -> Browser<'_> {
        let profile = format!("--user-data-dir={}", profile.display());
        let arguments = [
            profile.as_str(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1100,760",
        ];
        let options = json!({"args": arguments});
        let capabilities = json!({"browserName": "chrome", "goog:chromeOptions": options});
        let body = json!({"capabilities": {"alwaysMatch": capabilities}});
        let made = self.call(Method::POST, "/session", &body).await.expect("a browser");
        Browser {
            driver: self,
            session: made["sessionId"].as_str().expect("a session's id").to_owned(),
        }
    }

    /// A command's value, or what went wrong.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.url);
        let mut request = reqwest::Client::new().request(method.clone(), url);
        if method == Method::POST {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.expect("an answer of the driver");
        let is_done = answer.status().is_success();
        let mut answer: Value = answer.json().await.expect("JSON");
        let value = answer["value"].take();
        if is_done { Ok(value) } else { Err(value) }
    }
}

impl Browser<'_> {
    async fn tried(&self, method: Method, command: &str, body: Value) -> Result<Value, Value> {
        let path = format!("/session/{}{command}", self.session);
        self.driver.call(method, &path, &body).await
    }

    async fn done(&self, method: Method, command: &str, body: Value) -> Value {
        let outcome = self.tried(method, command, body).await;
        outcome.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub(crate) async fn open(&self, url: &str) {
        self.done(Method::POST, "/url", json!({"url": url})).await;
    }

    pub(crate) async fn back(&self) {
        self.done(Method::POST, "/back", json!({})).await;
    }

    pub(crate) async fn source(&self) -> String {
        let source = self.done(Method::GET, "/source", Value::Null).await;
        source.as_str().expect("text").to_owned()
    }

    /// The element that a CSS selector finds on the page that is there now.
    async fn find(&self, selector: &str) -> Option<String> {
        let search = json!({"using": "css selector", "value": selector});
        let found = self.tried(Method::POST, "/element", search).await.ok()?;
        Some(found[ELEMENT].as_str().expect("an element").to_owned())
    }

    /// The element that a CSS selector finds; waits until it is there.
    async fn element(&self, selector: &str) -> String {
        let what = format!("`{selector}` on the page");
        eventually(SOON, &what, async || self.find(selector).await).await
    }

    /// Waits until a CSS selector finds something: a click has been made before the page that it leads to is there.
    pub(crate) async fn shows(&self, selector: &str) {
        self.element(selector).await;
    }

    /// Whether a CSS selector finds anything on the page that is there now.
    pub(crate) async fn has(&self, selector: &str) -> bool {
        self.find(selector).await.is_some()
    }

    /// What stands in the element that a CSS selector finds; waits until it is there, and stays.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let what = format!("the text of `{selector}` on the page");
        let text = eventually(SOON, &what, async || {
            let element = self.find(selector).await?;
            let path = format!("/element/{element}/text");
            self.tried(Method::GET, &path, Value::Null).await.ok()
        });
        text.await.as_str().expect("text").to_owned()
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.done(Method::POST, &format!("/element/{element}/click"), json!({}))
            .await;
    }

    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.done(
            Method::POST,
            &format!("/element/{element}/value"),
            json!({"text": text}),
        )
        .await;
    }

    /// The cookies of the page, as the browser keeps them.
    pub(crate) async fn cookies(&self) -> Value {
        self.done(Method::GET, "/cookie", Value::Null).await
    }

    /// A picture of the window, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let picture = self.done(Method::GET, "/screenshot", Value::Null).await;
        STANDARD.decode(picture.as_str().expect("a picture")).expect("base64")
    }

    pub(crate) async fn quit(self) {
        self.done(Method::DELETE, "", Value::Null).await;
    }
}
