//! The commands that talk to a running service: `session`, `user`, `health`, and the client of `selftest`.

use std::io::{self, IsTerminal as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::args::ClientFlags;

/// Longer than the service's own request timeout, so that its answer is what the caller sees.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Health checks run every few seconds.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// What stands for itself in one segment of a path (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a command failed: one line for people.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("`{url}` is no address of a service (such as http://127.0.0.1:8080): {problem}")]
    Url {
        /// The address.
        url: String,
        /// Why not.
        problem: String,
    },
    /// No answer.
    #[error("cannot reach {url}: {problem}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why not.
        problem: String,
    },
    /// The service refused.
    #[error("{url} answered {status}: {detail}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the service says about it.
        detail: String,
    },
    /// The outcome could not be printed.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// A running service, and the credential for it.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl ClientFlags {
    /// A client of the service that the flags name.
    pub fn connect(&self) -> Result<Client, ClientError> {
        let token = self.token.as_ref().map(|token| token.expose().to_owned());
        Client::new(&self.url, token)
    }
}

/// What the client reads of an `application/problem+json` answer.
#[derive(Deserialize)]
struct Problem {
    code: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

impl Client {
    /// A client of the service at an address, with the caller's token (JWT) if there is one.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ClientError> {
        Ok(Self {
            http: http_client(TIMEOUT).map_err(|error| unreachable(base, &error))?,
            base: parse(base)?,
            token,
        })
    }

    /// Prints a session.
    pub async fn show_session(&self, id: &str) -> Result<(), ClientError> {
        let response = self
            .send(Method::GET, &["v1", "sessions", id], "consistency=strong")
            .await?;
        print_json(response).await
    }

    /// Ends a session.
    pub async fn end_session(&self, id: &str) -> Result<(), ClientError> {
        self.send(Method::DELETE, &["v1", "sessions", id], "").await.map(|_| ())
    }

    /// Prints a user's sessions.
    pub async fn show_user(&self, user: &str) -> Result<(), ClientError> {
        let response = self.send(Method::GET, &["v1", "users", user, "sessions"], "").await?;
        print_json(response).await
    }

    /// Ends a user's sessions, and prints how many there were.
    pub async fn end_user(&self, user: &str) -> Result<(), ClientError> {
        let response = self
            .send(Method::DELETE, &["v1", "users", user, "sessions"], "")
            .await?;
        print_json(response).await
    }

    /// Sends JSON to a path, and returns the JSON that is answered.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, path, "").json(body);
        let response = self.answer(request).await?;
        let url = response.url().to_string();
        response.json().await.map_err(|error| unreachable(&url, &error))
    }

    async fn send(&self, method: Method, path: &[&str], query: &str) -> Result<Response, ClientError> {
        self.answer(self.request(method, path, query)).await
    }

    fn request(&self, method: Method, path: &[&str], query: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        let segments: Vec<_> = path
            .iter()
            .map(|segment| utf8_percent_encode(segment, SEGMENT).to_string())
            .collect();
        url.set_path(&format!("{}/{}", url.path().trim_end_matches('/'), segments.join("/")));
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let unreachable = |error| unreachable(self.base.as_str(), &error);
        accepted(request.send().await.map_err(unreachable)?).await
    }
}

/// Asks the admin listener whether the server is ready (or another path that the address names), and prints its answer.
pub async fn health(url: &str) -> Result<(), ClientError> {
    let mut url = parse(url)?;
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    let client = http_client(HEALTH_TIMEOUT).map_err(|error| unreachable(url.as_str(), &error))?;
    let answer = client.get(url.clone()).send().await;
    let response = accepted(answer.map_err(|error| unreachable(url.as_str(), &error))?).await?;
    print(&text(response).await?)
}

/// Where a listener that is bound to this address can be asked from the same host.
pub fn local_url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

fn parse(url: &str) -> Result<Url, ClientError> {
    let problem = |problem: String| ClientError::Url {
        url: url.to_owned(),
        problem,
    };
    let parsed = Url::parse(url).map_err(|error| problem(error.to_string()))?;
    if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() {
        Ok(parsed)
    } else {
        Err(problem("http:// or https:// and a host are needed".to_owned()))
    }
}

fn http_client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // A redirect would pass the credential on.
    let policy = reqwest::redirect::Policy::none();
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(policy)
        .no_proxy()
        .build()
}

/// The innermost cause is what helps: "connection refused", not "error sending request".
fn unreachable(url: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let problem = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        cause.to_string()
    };
    ClientError::Unreachable {
        url: url.to_owned(),
        problem,
    }
}

async fn accepted(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = response.url().to_string();
    let body = text(response).await?;
    let detail = match serde_json::from_str::<Problem>(&body) {
        Ok(problem) => {
            let said = problem.detail.or(problem.title).unwrap_or_default();
            problem.code.map_or(said.clone(), |code| format!("{said} ({code})"))
        }
        Err(_) => body.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    Err(ClientError::Refused { url, status, detail })
}

async fn text(response: Response) -> Result<String, ClientError> {
    let url = response.url().to_string();
    response.text().await.map_err(|error| unreachable(&url, &error))
}

async fn print_json(response: Response) -> Result<(), ClientError> {
    let body = text(response).await?;
    let pretty = io::stdout().is_terminal();
    match serde_json::from_str::<Value>(&body) {
        Ok(value) if pretty => print(&format!("{value:#}\n")),
        _ => print(&format!("{}\n", body.trim_end())),
    }
}

fn print(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
