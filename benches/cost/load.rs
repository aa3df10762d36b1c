//! The load: a process of one thread that keeps some connections busy, one request at a time on each.

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

/// The argument by which this program becomes the load.
pub(crate) const ROLE: &str = "role-load";

/// What the load is to do.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Order {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Goes round the requests for so long; nothing: sends each of them once.
    pub(crate) millis: Option<u64>,
    pub(crate) requests: Vec<String>,
    /// The status that every answer must have.
    pub(crate) status: u16,
    /// Whether to hand back the bodies.
    pub(crate) keep_bodies: bool,
}

/// What it did.
#[derive(Serialize, Deserialize, Debug, Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) bodies: Vec<String>,
}

impl Order {
    /// Has a process of its own do it.
    pub(crate) async fn run(&self) -> Done {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = tokio::process::Command::new(program)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start the load");
        let order = serde_json::to_vec(self).expect("an order is JSON");
        let mut stdin = child.stdin.take().expect("a piped standard input");
        stdin.write_all(&order).await.expect("the load reads its order");
        drop(stdin);
        let output = child.wait_with_output().await.expect("wait for the load");
        assert!(output.status.success(), "the load failed: {}", output.status);
        serde_json::from_slice(&output.stdout).expect("the load's answer")
    }
}

/// The process of the load: an order on standard input, the outcome on standard output.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run() {
    let mut order = Vec::new();
    std::io::stdin().read_to_end(&mut order).expect("read the order");
    let order: Order = serde_json::from_slice(&order).expect("an order");
    let done = LocalSet::new().run_until(work(order)).await;
    println!("{}", serde_json::to_string(&done).expect("an outcome is JSON"));
}

struct Work {
    order: Order,
    next: Cell<usize>,
    ends: Option<Instant>,
    bodies: RefCell<Vec<String>>,
}

impl Work {
    /// The request that is next.
    fn next(&self) -> Option<&str> {
        let number = self.next.get();
        let requests = &self.order.requests;
        let over = match self.ends {
            Some(ends) => Instant::now() >= ends,
            None => number >= requests.len(),
        };
        if over {
            return None;
        }
        self.next.set(number + 1);
        Some(&requests[number % requests.len()])
    }
}

async fn work(order: Order) -> Done {
    let started = Instant::now();
    let work = std::rc::Rc::new(Work {
        ends: order.millis.map(|millis| started + Duration::from_millis(millis)),
        next: Cell::new(0),
        bodies: RefCell::default(),
        order,
    });
    let connections: Vec<_> = (0..work.order.connections)
        .map(|_| {
            let work = std::rc::Rc::clone(&work);
            spawn_local(async move { keep_busy(&work).await })
        })
        .collect();
    for connection in connections {
        connection.await.expect("a connection's task");
    }
    Done {
        requests: work.next.get() as u64,
        seconds: started.elapsed().as_secs_f64(),
        bodies: work.bodies.take(),
    }
}

async fn keep_busy(work: &Work) {
    let mut connection = Connection::open(work.order.address).await;
    while let Some(request) = work.next() {
        let (status, body) = connection.ask(request).await;
        assert_eq!(
            status,
            work.order.status,
            "{request}\n{}",
            String::from_utf8_lossy(body)
        );
        if work.order.keep_bodies {
            work.bodies
                .borrow_mut()
                .push(String::from_utf8_lossy(body).into_owned());
        }
    }
}

/// A kept connection that sends prepared bytes and reads just enough of the answers to tell where they end.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect to the server");
        stream.set_nodelay(true).expect("a fresh socket");
        Self {
            stream,
            buffer: Vec::with_capacity(8 * 1024),
        }
    }

    /// The status and the body.
    pub(crate) async fn ask(&mut self, request: &str) -> (u16, &[u8]) {
        let (status, head, end) = self.exchange(request).await;
        (status, &self.buffer[head..end])
    }

    /// The head of the answer, with its status line, and the body.
    pub(crate) async fn ask_whole(&mut self, request: &str) -> (&str, &[u8]) {
        let (_, head, end) = self.exchange(request).await;
        let text = std::str::from_utf8(&self.buffer[..head]).expect("a head is text");
        (text, &self.buffer[head..end])
    }

    async fn exchange(&mut self, request: &str) -> (u16, usize, usize) {
        self.stream.write_all(request.as_bytes()).await.expect("send a request");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("read an answer");
            assert_ne!(read, 0, "the server closed a kept connection");
            if let Some((status, head, length)) = head(&self.buffer)
                && self.buffer.len() >= head + length
            {
                return (status, head, head + length);
            }
        }
    }
}

/// The status, and the lengths of head and body, once the head is there.
fn head(answer: &[u8]) -> Option<(u16, usize, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..end]).expect("a head is text");
    let status = text[9..12].parse().expect("a status");
    let length = text.find("content-length: ").map_or(0, |at| {
        let rest = &text[at + 16..];
        let digits = rest.split('\r').next().unwrap_or_default();
        digits.parse().expect("a length")
    });
    Some((status, end, length))
}
