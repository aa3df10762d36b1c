//! The HTTP faces: the JSON API, forward auth, the browser's endpoints and the admin listener.

pub mod admin;
pub mod listener;
