//! One proxied connection: requests one way, replies and pushes the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::super::resp;
use super::rules::{Action, SwapSides, strike};
use super::{Flow, Shared};

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// The first byte of a TLS record that opens a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// The connection has to end: one side closed it, or a fault did.
struct Closed;

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// What the requests' side tells the replies' side.
#[derive(Default)]
struct Link {
    number: u64,
    /// No fault touches it: the link of a replica to its primary, or one that the test spares.
    is_spared: AtomicBool,
    /// Not the Redis protocol (any more): bytes are passed on as they come.
    is_opaque: AtomicBool,
    waiting: Mutex<VecDeque<Waiting>>,
}

/// A request whose reply has not come yet.
struct Waiting {
    /// For a (un)subscription: the pushes that confirm it, one a channel, in place of a reply.
    confirmations: usize,
    fate: Fate,
}

enum Fate {
    Deliver,
    Cut,
    Swap(SwapSides),
}

/// Passes on both ways until a side closes or a fault cuts.
pub(super) async fn run(client: TcpStream, server: TcpStream, shared: &Shared) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let link = Link {
        number: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        ..Link::default()
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (send_reply, replies) = unbounded_channel();
    tokio::select! {
        _ = requests(from_client, to_server, &link, shared) => {}
        _ = read_replies(from_server, send_reply, &link, shared) => {}
        _ = write_replies(to_client, replies, &link, shared) => {}
        () = cut(&link, shared) => {}
    }
}

async fn cut(link: &Link, shared: &Shared) {
    let mut weather = shared.weather.subscribe();
    let mut seen = weather.borrow().cuts;
    loop {
        let _ = weather.wait_for(|now| now.cuts != seen).await;
        seen = weather.borrow().cuts;
        if !link.is_spared.load(Ordering::Relaxed) {
            return;
        }
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link, shared: &Shared) -> Result<(), Closed> {
    let mut weather = shared.weather.subscribe();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        read_more(&mut from, &mut buffer).await?;
        if buffer.first() == Some(&TLS_HANDSHAKE) {
            link.is_opaque.store(true, Ordering::Relaxed);
        }
        let is_spared = || link.is_spared.load(Ordering::Relaxed);
        while let Some(frame) = next_frame(&mut buffer, link) {
            note_spared(&frame, link, shared);
            if !is_spared() {
                let _ = weather.wait_for(|now| now.requests == Flow::Moving).await;
                admit(&frame, link, shared)?;
            }
            to.write_all(&frame).await?;
        }
    }
}

/// Applies the rules to a request, and notes it as one that waits for a reply.
fn admit(request: &[u8], link: &Link, shared: &Shared) -> Result<(), Closed> {
    if link.is_opaque.load(Ordering::Relaxed) {
        return Ok(());
    }
    let action = strike(&shared.requests, request, link.number);
    if action.is_some() {
        shared.counts.lock().requests_hit += 1;
    }
    let fate = match action {
        None => Fate::Deliver,
        Some(Action::CutBeforeRequest) => return Err(Closed),
        Some(Action::CutBeforeReply) => Fate::Cut,
        Some(Action::Swap(sides)) => Fate::Swap(sides),
    };
    let words = resp::words(request);
    let confirmations = if is_subscription(words.first().copied()) {
        words.len().saturating_sub(1).max(1)
    } else {
        0
    };
    link.waiting.lock().push_back(Waiting { confirmations, fate });
    Ok(())
}

async fn read_replies(
    mut from: OwnedReadHalf,
    to: UnboundedSender<(Instant, Vec<u8>)>,
    link: &Link,
    shared: &Shared,
) -> Result<(), Closed> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut has_lost = false;
    loop {
        read_more(&mut from, &mut buffer).await?;
        while let Some(frame) = next_frame(&mut buffer, link) {
            if link.is_spared.load(Ordering::Relaxed) {
                to.send((Instant::now(), frame)).map_err(|_| Closed)?;
                continue;
            }
            let frame = settle(frame, link).await?;
            let (is_swallowed, delay) = {
                let weather = shared.weather.borrow();
                (weather.swallow_replies, weather.reply_delay)
            };
            has_lost |= is_swallowed;
            if has_lost || is_dropped(&frame, shared) {
                continue;
            }
            to.send((Instant::now() + delay, frame)).map_err(|_| Closed)?;
        }
    }
}

async fn write_replies(
    mut to: OwnedWriteHalf,
    mut replies: UnboundedReceiver<(Instant, Vec<u8>)>,
    link: &Link,
    shared: &Shared,
) -> Result<(), Closed> {
    let mut weather = shared.weather.subscribe();
    while let Some((due, frame)) = replies.recv().await {
        if !link.is_spared.load(Ordering::Relaxed) {
            tokio::time::sleep_until(due).await;
            let _ = weather.wait_for(|now| now.replies == Flow::Moving).await;
        }
        to.write_all(&frame).await?;
    }
    Err(Closed)
}

/// Matches a frame from the server with the request that it answers, and lets that request's fate happen.
async fn settle(frame: Vec<u8>, link: &Link) -> Result<Vec<u8>, Closed> {
    if link.is_opaque.load(Ordering::Relaxed) {
        return Ok(frame);
    }
    let words = resp::words(&frame);
    let is_confirmation = is_subscription(words.first().copied());
    let is_push = frame.first() == Some(&b'>');
    let answered = {
        let mut waiting = link.waiting.lock();
        match waiting.front_mut() {
            Some(request) if request.confirmations > 1 && is_confirmation => {
                request.confirmations -= 1;
                None
            }
            Some(request) if !is_push || (request.confirmations == 1 && is_confirmation) => waiting.pop_front(),
            _ => None,
        }
    };
    match answered.map(|request| request.fate) {
        Some(Fate::Cut) => Err(Closed),
        Some(Fate::Swap(sides)) => {
            let _ = sides.give.send(frame);
            sides.take.await.map_err(|_| Closed)
        }
        Some(Fate::Deliver) | None => Ok(frame),
    }
}

fn is_dropped(frame: &[u8], shared: &Shared) -> bool {
    let is_dropped = shared
        .dropped_replies
        .lock()
        .iter()
        .any(|bytes| resp::contains(frame, bytes));
    if is_dropped {
        shared.counts.lock().replies_dropped += 1;
    }
    is_dropped
}

/// Takes the next frame off the buffer, or all of it where the proxy does not read the protocol.
fn next_frame(buffer: &mut Vec<u8>, link: &Link) -> Option<Vec<u8>> {
    let is_raw = link.is_opaque.load(Ordering::Relaxed) || link.is_spared.load(Ordering::Relaxed);
    let length = if is_raw {
        buffer.len()
    } else {
        resp::frame_length(buffer)?
    };
    (length > 0).then(|| buffer.drain(..length).collect())
}

fn note_spared(request: &[u8], link: &Link, shared: &Shared) {
    let is_of_replica = resp::words(request)
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"REPLCONF"));
    let contained = |bytes: &Vec<u8>| resp::contains(request, bytes);
    if is_of_replica || shared.spared.lock().iter().any(contained) {
        link.is_spared.store(true, Ordering::Relaxed);
    }
}

/// Whether a request, or the push that confirms it, is a subscription or its end.
fn is_subscription(word: Option<&[u8]>) -> bool {
    let name = word.unwrap_or_default().to_ascii_lowercase();
    matches!(
        name.as_slice(),
        b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe" | b"sunsubscribe"
    )
}

async fn read_more(from: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<(), Closed> {
    let read = from.read_buf(buffer).await?;
    if read == 0 { Err(Closed) } else { Ok(()) }
}
