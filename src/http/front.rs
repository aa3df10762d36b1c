use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::{BoxError, Router};
use futures_util::future::Either;
use http::Request;
use tower_service::Service;

use super::hits::Hits;

/// The traffic listener's whole surface. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    hits: Option<Arc<Hits>>,
    router: Router,
}

impl Front {
    /// The routes alone.
    pub(super) fn without_hits(router: Router) -> Self {
        Self { hits: None, router }
    }

    /// The routes, and before them what memory alone can answer.
    pub(super) fn new(hits: Hits, router: Router) -> Self {
        Self {
            hits: Some(Arc::new(hits)),
            router,
        }
    }
}

impl<B> Service<Request<B>> for Front
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither memory nor a router is ever busy.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let hit = self.hits.as_ref().and_then(|hits| hits.answer(&request));
        match hit {
            Some(response) => Either::Left(ready(Ok(response))),
            None => Either::Right(self.router.call(request)),
        }
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}
