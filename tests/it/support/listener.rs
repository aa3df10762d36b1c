//! Listening to the events of a fleet.

use reqwest::Response;
use serde_json::Value;

use super::fleet::Replica;
use super::wait::SOON;

/// A listener to the events of the fleet at one replica.
pub(crate) struct Listener {
    stream: Response,
    buffer: String,
    pub(crate) last_id: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Listener {
    pub(crate) async fn start(replica: &Replica, last_id: Option<&str>) -> Self {
        let mut request = replica
            .request("GET", "/v1/events")
            .header("authorization", &replica.credential);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let stream = request.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        Self {
            stream,
            buffer: String::new(),
            last_id: None,
        }
    }

    /// The next event; nothing where the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(line.trim_start().to_owned())
                };
                if let Some(kind) = field("event:") {
                    self.last_id = field("id:").or(self.last_id.take());
                    let data = serde_json::from_str(&field("data:").unwrap()).unwrap();
                    return Some(Event { kind, data });
                }
                continue;
            }
            let chunk = tokio::time::timeout(SOON, self.stream.chunk()).await.expect("an event");
            self.buffer.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }

    /// Reads on until an event of this kind and session, and gives it with those before it.
    pub(crate) async fn until(&mut self, kind: &str, path: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            let found = event.kind == kind && event.is_of(path);
            events.push(event);
            if found {
                return events;
            }
        }
    }
}

impl Event {
    pub(crate) fn is_of(&self, path: &str) -> bool {
        path.ends_with(self.data["session_id"].as_str().unwrap_or("-"))
    }
}
