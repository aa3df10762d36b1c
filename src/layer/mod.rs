//! Sessions for axum and any other tower application, in process: over the same [`Sessions`](crate::sessions::Sessions)
//! as every other face, without a hop over HTTP.
//!
//! # Ten lines
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use cloakroom::Cloakroom;
//! use cloakroom::layer::{Error, Options, Session, SessionLayer};
//!
//! async fn count(session: Session) -> Result<String, Error> {
//!     Ok(format!("view {}", session.increment("views", 1).await?))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cloakroom = Cloakroom::builder().redis_url("redis://127.0.0.1:6379").open().await?;
//!     let sessions = SessionLayer::new(cloakroom.sessions(), Options::default())?;
//!     let app = Router::new().route("/", get(count)).layer(sessions);
//!     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! [`Cloakroom`](crate::Cloakroom) opens the store and keeps memory coherent; [`SessionLayer`] gives each request its
//! [`Session`]; [`Options`] has the names and meanings of express-session.
//!
//! # What to rely on
//!
//! - **Lazy.** A session is looked up when a handler first asks it for something. A hit in memory asks nobody, and is at
//!   most the staleness bound old.
//! - **Only what changed is written**, once, before the response leaves: two requests at a time that set different keys
//!   both count. [`Session::increment`], [`Session::update`] and [`Session::add_to_cart`] are exact under concurrency.
//! - **No resurrection.** A request that was under way when its session ended writes nothing.
//! - **An outage logs nobody out.** Where the store does not answer, what asks for the session fails with
//!   [`Error::Unavailable`], which answers 503; no cookie is cleared, and none is overwritten.
//! - **Log in with [`Session::log_in`]**: the token changes, and what a stranger may have put into the session goes.
//! - **Pages of other sites** cannot use a session in unsafe requests ([`CrossSite`]); forms can carry
//!   [`Session::csrf_token`] besides.
//! - **Caches** are told `no-store` and `Vary: Cookie` by every response that asked for the session.
//!
//! # Outside of axum
//!
//! The layer is around any tower service whose response body has a default (the empty body). The session is an
//! extension of the request:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use cloakroom::layer::{Session, SessionLayer};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # fn build(sessions: SessionLayer) {
//! let service = ServiceBuilder::new()
//!     .layer(sessions)
//!     .service(service_fn(async |request: Request<String>| {
//!         let session = request.extensions().get::<Session>().cloned();
//!         let views = match session {
//!             Some(session) => session.increment("views", 1).await.unwrap_or_default(),
//!             None => 0,
//!         };
//!         Ok::<_, Infallible>(Response::new(views.to_string()))
//!     }));
//! # let _ = service;
//! # }
//! ```

mod backend;
mod client_side;
mod commit;
mod error;
mod lifecycle;
mod login;
mod options;
mod service;
mod session;
mod state;
mod visit;

pub use client_side::ClientSide;
pub use error::Error;
pub use login::LogIn;
pub use options::{CrossSite, InvalidOptions, Options, Unset};
pub use service::{ResponseFuture, SessionLayer, SessionService};
pub use session::{Result, Session};
