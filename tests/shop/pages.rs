//! The shop on the replicas of `cloakroom dev`, as a visitor meets it.

use crate::driver::Browser;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

const ANY_PORT: &str = "127.0.0.1:0";

/// Three replicas with the shop on each.
pub(crate) struct Replicas {
    urls: Vec<String>,
    _dev: Program,
}

impl Replicas {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these settings.
    pub(crate) async fn with(environment: &[(&str, &str)]) -> Self {
        let arguments = [
            "dev",
            "--listen",
            ANY_PORT,
            "--admin-listen",
            ANY_PORT,
            "--replicas",
            "3",
        ];
        let dev = Program::cloakroom(&arguments, environment);
        let urls = eventually(SOON, "the replicas", async || {
            let output = dev.output();
            let is_up = output.iter().any(|line| line.starts_with("Ctrl-C"));
            let urls = output.iter().filter_map(|line| {
                let url = line.trim().strip_prefix("dev-")?.split_whitespace().nth(2)?;
                Some(url.to_owned())
            });
            is_up.then(|| urls.collect::<Vec<_>>())
        })
        .await;
        assert_eq!(urls.len(), 3, "{urls:?}");
        Self { urls, _dev: dev }
    }

    /// A page of a replica, the first of which is 0.
    pub(crate) fn page(&self, replica: usize, page: &str) -> String {
        format!("{}/shop{page}", self.urls[replica])
    }
}

/// Fills in the log-in form on a replica.
pub(crate) async fn log_in(browser: &Browser<'_>, replicas: &Replicas, replica: usize, remember: bool) {
    browser.open(&replicas.page(replica, "/log-in")).await;
    browser.fill("input[name=user]", "dana").await;
    browser.fill("input[name=password]", "umbrella").await;
    if remember {
        browser.click("input[name=remember]").await;
    }
    browser.click("#log-in").await;
    assert_eq!(browser.text("#greeting").await, "Hello, dana");
}

/// Whether the visitor is logged in, as a replica sees it.
pub(crate) async fn is_logged_in(browser: &Browser<'_>, replicas: &Replicas, replica: usize) -> bool {
    browser.open(&replicas.page(replica, "")).await;
    browser.text("#greeting").await == "Hello, dana"
}
