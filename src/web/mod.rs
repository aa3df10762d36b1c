//! What every face knows of browsers: the session cookie and its signature, who asks, and whose page sent a request.

mod client;
mod cookie;
mod credential;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod origin;
mod seal;
mod settings;

pub use seal::CookieSecrets;
pub use settings::{CookiePreset, CookieSettings, Priority, SameSite, Secure};

pub(crate) use client::{Client, OverTls, Scheme, address, only, scheme};
pub(crate) use cookie::{CookieCredential, Life, SetCookie, carries_cookie, find as find_cookie};
pub(crate) use credential::{Carried, Credential};
pub(crate) use origin::Origin;
