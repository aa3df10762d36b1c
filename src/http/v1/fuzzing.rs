//! What `crate::http::fuzzing` needs of the bodies that callers send.

use serde::de::DeserializeOwned;

use super::{activity, data, exchange, rotate, sessions, validate};
use crate::http::extract::parse_object;

/// Whether bytes are a body of some kind.
type Accepts = fn(&[u8]) -> bool;

/// Every kind of body, and whether bytes are one.
pub(in crate::http) const BODIES: [(&str, Accepts); 9] = [
    ("create", accepts::<sessions::CreateBody>),
    ("change", accepts::<sessions::ChangeBody>),
    ("migrate", accepts::<sessions::MigrateBody>),
    ("rotate", accepts::<rotate::RotateBody>),
    ("validate", accepts::<validate::ValidateBody>),
    ("csrf", accepts::<validate::CsrfBody>),
    ("activity", accepts::<activity::ActivityBody>),
    ("increment", accepts::<data::IncrementBody>),
    ("exchange", accepts::<exchange::ExchangeBody>),
];

fn accepts<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    parse_object::<T>(bytes).is_ok()
}
