//! What browsers and gateways touch: cookies, the endpoints for browsers, forward auth.

mod signed_cookies;
