//! An OTLP receiver: by gRPC and by HTTP, with what it was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::support::wait::{SOON, eventually};

/// How the program speaks to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Grpc,
    Http,
}

impl Spoken {
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

#[derive(Default)]
struct Received {
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    /// Everything as it came, to be searched for what should not be there.
    bytes: Mutex<Vec<u8>>,
    /// The header `x-key` of the last request.
    key: Mutex<Option<String>>,
    /// While set, it takes requests and does not answer.
    slow: AtomicBool,
}

/// A span with the server that sent it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) server: String,
    pub(crate) span: Span,
}

impl Seen {
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        let found = self.span.attributes.iter().find(|pair| pair.key == key)?;
        text(found.value.as_ref()?.value.as_ref()?)
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A running receiver; dropped, it is gone, and its port refuses connections.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start(spoken: Spoken) -> Self {
        Self::start_at(spoken, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_at(spoken: Spoken, address: SocketAddr) -> Self {
        // The port may still be held by the connections of one that was there before.
        let listener = eventually(SOON, "the collector's port", async || {
            TcpListener::bind(address).await.ok()
        })
        .await;
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Received::default());
        let task = match spoken {
            Spoken::Grpc => {
                let service = TraceServiceServer::new(Grpc(Arc::clone(&received)));
                let serving = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpIncoming::from(listener));
                tokio::spawn(async move { serving.await.unwrap() })
            }
            Spoken::Http => {
                let router = Router::new()
                    .route("/v1/traces", post(take_http))
                    .with_state(Arc::clone(&received));
                tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
            }
        };
        Self {
            address,
            received,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it takes and does not answer, or does again.
    pub(crate) fn be_slow(&self, slow: bool) {
        self.received.slow.store(slow, Ordering::SeqCst);
    }

    pub(crate) fn key(&self) -> Option<String> {
        self.received.key.lock().clone()
    }

    /// Everything that came, as it came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.received.bytes.lock().clone()
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        let requests = self.received.requests.lock();
        let resources = requests.iter().flat_map(|request| request.resource_spans.iter());
        let spans = resources.flat_map(|resource| {
            let attributes = resource.resource.iter().flat_map(|resource| resource.attributes.iter());
            let told = |key: &str| {
                let mut found = attributes.clone().filter(|pair| pair.key == key);
                found.next().and_then(|pair| text(pair.value.as_ref()?.value.as_ref()?))
            };
            assert_eq!(told("service.name").as_deref(), Some("cloakroom"));
            assert_eq!(told("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
            let server = told("service.instance.id").unwrap();
            let spans = resource.scope_spans.iter().flat_map(|scope| scope.spans.iter());
            spans
                .map(move |span| Seen {
                    server: server.clone(),
                    span: span.clone(),
                })
                .collect::<Vec<_>>()
        });
        spans.collect()
    }

    /// The first span that is as described, as soon as it has come.
    pub(crate) async fn span(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        eventually(SOON, what, async || self.spans().into_iter().find(|seen| is_it(seen))).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    async fn take(&self, request: ExportTraceServiceRequest, bytes: &[u8], key: Option<String>) {
        if self.slow.load(Ordering::SeqCst) {
            // Longer than anybody waits.
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
        self.bytes.lock().extend_from_slice(bytes);
        self.requests.lock().push(request);
        *self.key.lock() = key;
    }
}

struct Grpc(Arc<Received>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request
            .metadata()
            .get("x-key")
            .map(|key| key.to_str().unwrap().to_owned());
        let request = request.into_inner();
        let bytes = request.encode_to_vec();
        self.0.take(request, &bytes, key).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn take_http(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let key = headers.get("x-key").map(|key| key.to_str().unwrap().to_owned());
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    received.take(request, &body, key).await;
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}
