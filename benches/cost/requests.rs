//! The requests, byte for byte, and the session that they are about.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// What signs the callers' tokens.
pub(crate) const JWT_SECRET: &str = "a secret of the benchmark and of no use elsewhere";
const HOST: &str = "sessions.example.test";
const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Writes requests as one caller of the API and one gateway would.
pub(crate) struct Requests {
    bearer: String,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "sub": "shop-frontend", "aud": "cloakroom", "iat": now, "exp": now + 24 * 3_600, "scope": "sessions:write",
        });
        let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
        let token = encode(&Header::default(), &claims, &key).expect("sign a token");
        Self {
            bearer: format!("authorization: Bearer {token}\r\n"),
        }
    }

    pub(crate) fn auth(token: &str) -> String {
        format!(
            "GET /auth HTTP/1.1\r\nhost: {HOST}\r\nx-forwarded-method: GET\r\nx-forwarded-uri: /orders/17\r\n\
             x-forwarded-for: 203.0.113.9\r\nuser-agent: {BROWSER}\r\naccept: text/html\r\n\
             cookie: theme=dark; __Host-cloakroom={token}\r\n\r\n"
        )
    }

    /// A gateway's question about a POST, with all proofs that a guarded server wants.
    pub(crate) fn guarded_auth(cookie: &str, csrf_token: &str) -> String {
        format!(
            "GET /auth?csrf=1&role=customer HTTP/1.1\r\nhost: {HOST}\r\nx-forwarded-method: POST\r\n\
             x-forwarded-uri: /orders/17\r\nx-forwarded-for: 203.0.113.9\r\nuser-agent: {BROWSER}\r\n\
             accept: text/html\r\nx-csrf-token: {csrf_token}\r\ncookie: theme=dark; {cookie}\r\n\r\n"
        )
    }

    pub(crate) fn create(&self, user: usize) -> String {
        self.with_body("POST", "/v1/sessions", &content(user))
    }

    pub(crate) fn validate(&self, token: &str) -> String {
        let body = json!({ "token": token }).to_string();
        self.with_body("POST", "/v1/sessions/validate", &body)
    }

    pub(crate) fn read(&self, id: &str) -> String {
        self.without_body("GET", &format!("/v1/sessions/{id}"))
    }

    pub(crate) fn read_strong(&self, id: &str) -> String {
        self.without_body("GET", &format!("/v1/sessions/{id}?consistency=strong"))
    }

    pub(crate) fn change(&self, id: &str) -> String {
        let body = json!({ "data": { "theme": "light" } }).to_string();
        self.with_body("PATCH", &format!("/v1/sessions/{id}"), &body)
    }

    pub(crate) fn destroy(&self, id: &str) -> String {
        self.without_body("DELETE", &format!("/v1/sessions/{id}"))
    }

    fn without_body(&self, method: &str, path: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n{}accept: */*\r\n\r\n",
            self.bearer
        )
    }

    fn with_body(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n{}accept: */*\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.bearer,
            body.len()
        )
    }
}

/// What an application stores of a user who has logged in: about 350 bytes.
pub(crate) fn content(user: usize) -> String {
    json!({
        "user_id": format!("user-{user:06}"),
        "roles": ["customer", "editor"],
        "permissions": ["orders:read", "orders:write"],
        "data": { "theme": "dark", "language": "en-GB", "cart_id": format!("cart-{user:08}"), "visits": 17 },
        "metadata": { "ip": "203.0.113.9", "user_agent": BROWSER, "login_method": "password" },
    })
    .to_string()
}

/// The same content as express-session has connect-redis store it.
pub(crate) fn express_content(user: usize) -> String {
    let content: serde_json::Value = serde_json::from_str(&content(user)).expect("our own JSON");
    json!({
        "cookie": {
            "originalMaxAge": 86_400_000, "expires": "2026-01-31T12:00:00.000Z", "secure": true, "httpOnly": true,
            "path": "/", "sameSite": "lax",
        },
        "userId": content["user_id"], "roles": content["roles"], "permissions": content["permissions"],
        "data": content["data"], "metadata": content["metadata"],
    })
    .to_string()
}
