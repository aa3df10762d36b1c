//! What browsers and gateways touch: cookies, the endpoints for browsers, forward auth.

mod answers;
mod endpoints;
mod signed_cookies;
