use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::backend::Backend;
use super::client_side::ClientSide;
use super::options::{InvalidOptions, Options};
use super::session::{Core, Session};
use crate::session::Classes;
use crate::sessions::Sessions;
use crate::web::SetCookie;

/// Gives every request of a tower application its [`Session`]. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::Router;
/// use axum::routing::get;
/// use cloakroom::Cloakroom;
/// use cloakroom::layer::{Error, Options, Session, SessionLayer};
///
/// async fn count(session: Session) -> Result<String, Error> {
///     Ok(format!("view {}", session.increment("views", 1).await?))
/// }
///
/// let cloakroom = Cloakroom::in_memory().await?;
/// let sessions = SessionLayer::new(cloakroom.sessions(), Options::default())?;
/// let app: Router = Router::new().route("/", get(count)).layer(sessions);
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SessionLayer(Arc<Core>);

impl SessionLayer {
    /// Sessions in the store that `sessions` stands on.
    pub fn new(sessions: Sessions, options: Options) -> Result<Self, InvalidOptions> {
        check_class(&options, sessions.classes())?;
        Self::over(Backend::Shared(sessions), options)
    }

    /// Sessions that the clients hold themselves, sealed in their cookies.
    pub fn client_side(client_side: ClientSide, options: Options) -> Result<Self, InvalidOptions> {
        if options.cookie.secrets.is_some() {
            let what = "cookie.secrets: a client-side session is sealed, which signs it too: leave them out";
            return Err(InvalidOptions(what.to_owned()));
        }
        check_class(&options, client_side.known_classes())?;
        Self::over(Backend::ClientSide(client_side), options)
    }

    fn over(backend: Backend, options: Options) -> Result<Self, InvalidOptions> {
        options.check()?;
        Ok(Self(Arc::new(Core {
            set_cookie: SetCookie::new(&options.cookie),
            backend,
            options,
        })))
    }
}

fn check_class(options: &Options, classes: &Classes) -> Result<(), InvalidOptions> {
    match &options.class {
        Some(class) if classes.get(class).is_none() => {
            let known: Vec<_> = classes.names().collect();
            let known = known.join(", ");
            Err(InvalidOptions(format!(
                "class: unknown `{class}`; the classes are {known}"
            )))
        }
        _ => Ok(()),
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService {
            inner,
            core: Arc::clone(&self.0),
        }
    }
}

impl std::fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLayer")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

/// An application with sessions, as [`SessionLayer`] makes it.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    core: Arc<Core>,
}

impl<S, B, R, E> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = E>,
    S::Future: Future<Output = Result<Response<R>, E>>,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = E;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let session = Session::of(&request, &self.core);
        request.extensions_mut().insert(session.clone());
        ResponseFuture {
            answering: self.inner.call(request),
            session,
            saving: None,
        }
    }
}

impl<S> std::fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionService")
    }
}

pin_project! {
    /// The answer of an application with sessions: there when the application has answered, and what it set is written.
    pub struct ResponseFuture<F, R> {
        #[pin]
        answering: F,
        session: Session,
        // In a place of its own: few requests write anything.
        saving: Option<Pin<Box<dyn Future<Output = Response<R>> + Send>>>,
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default + Send + 'static,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let saving = if let Some(saving) = this.saving {
            saving
        } else {
            let mut response = ready!(this.answering.poll(context))?;
            if this.session.finish_at_once(&mut response) {
                return Poll::Ready(Ok(response));
            }
            let session = this.session.clone();
            this.saving.insert(Box::pin(async move {
                session.finish(&mut response).await;
                response
            }))
        };
        saving.as_mut().poll(context).map(Ok)
    }
}

impl<F, R> std::fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseFuture")
    }
}
