use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::{BoxError, Router};
use futures_util::future::Either;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::hits::{Hits, Way};

type Answered = Result<Response, Infallible>;
type AnsweredLater = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// The traffic listener's whole surface. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    hits: Option<Arc<Hits>>,
    router: Router,
    beside: Option<Beside>,
}

/// An application that answers on the same listener.
#[derive(Clone)]
struct Beside {
    owns: fn(&str) -> bool,
    application: Router,
}

impl Front {
    /// The routes alone.
    pub(super) fn without_hits(router: Router) -> Self {
        Self {
            hits: None,
            router,
            beside: None,
        }
    }

    /// The routes, and before them the short way.
    pub(super) fn new(hits: Hits, router: Router) -> Self {
        Self {
            hits: Some(Arc::new(hits)),
            router,
            beside: None,
        }
    }

    /// With an application that answers the paths which it owns, and that the API's middleware has nothing to do with.
    pub fn beside(self, owns: fn(&str) -> bool, application: Router) -> Self {
        Self {
            beside: Some(Beside { owns, application }),
            ..self
        }
    }

    /// Answers a request: at once where memory can, and without the routes where it is a plain read.
    pub fn answer<B>(&self, request: Request<B>) -> <Self as Service<Request<B>>>::Future
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Some(beside) = &self.beside
            && (beside.owns)(request.uri().path())
        {
            return Either::Right(Either::Right(beside.application.clone().call(request)));
        }
        if let Some(hits) = &self.hits {
            match hits.way(&request) {
                Way::Answered(response) => return Either::Left(ready(Ok(response))),
                Way::Read(id, consistency) => {
                    let (hits, head) = (Arc::clone(hits), request.into_parts().0);
                    let read = async move { Ok(hits.read(&head, id, consistency).await) };
                    return Either::Right(Either::Left(Box::pin(read)));
                }
                Way::Judge => {
                    let judged = judge(Arc::clone(hits), self.router.clone(), request);
                    return Either::Right(Either::Left(Box::pin(judged)));
                }
                Way::Long => {}
            }
        }
        Either::Right(Either::Right(self.router.clone().call(request)))
    }
}

/// Reads the body before the routes see the request.
async fn judge<B>(hits: Arc<Hits>, mut router: Router, request: Request<B>) -> Answered
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let read = timeout(hits.patience(), body.collect()).await;
    let Some(body) = read.ok().and_then(Result::ok).map(Collected::to_bytes) else {
        // It broke off, or took too long: what to say to that is for the routes to know.
        let broken = stream::iter([Err::<Bytes, _>(io::Error::from(io::ErrorKind::UnexpectedEof))]);
        return router.call(Request::from_parts(head, Body::from_stream(broken))).await;
    };
    match hits.judge(&head, &body, started).await {
        Some(judgement) => Ok(judgement),
        None => router.call(Request::from_parts(head, Body::from(body))).await,
    }
}

impl<B> Service<Request<B>> for Front
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Answered>, Either<AnsweredLater, RouteFuture<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither memory nor a router is ever busy.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

/// For listeners, which need no copy of it for each request.
impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = <Self as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.answer(request)
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}
