//! What a Redis server was asked to do, as MONITOR tells it.

use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::server::RedisServer;
use super::wait::{SOON, eventually};

/// One command as a server executed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MonitoredCommand {
    /// In capitals, such as `EVALSHA`.
    pub(crate) name: String,
    /// As MONITOR escapes them.
    pub(crate) arguments: Vec<String>,
    /// Issued by a Lua script, not by a client.
    pub(crate) from_script: bool,
}

/// Collects the commands of one server from the moment it was made until it is dropped.
pub(crate) struct Monitor {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Monitor {
    pub(crate) async fn attach(server: &RedisServer) -> Self {
        let monitor = server.client().get_async_monitor().await.expect("a MONITOR connection");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            let mut stream = monitor.into_on_message::<String>();
            while let Some(line) = stream.next().await {
                collected.lock().push(line);
            }
        });
        Self { lines, reader }
    }

    /// Every command that `server` (the one this is attached to) executed up to now, but for the connection set-up of
    /// clients and this fixture's own marks.
    pub(crate) async fn commands(&self, server: &RedisServer) -> Vec<MonitoredCommand> {
        let mark = super::unique_prefix();
        server.command(&["PING", &mark]).await;
        eventually(SOON, "the mark to pass through MONITOR", async || {
            self.lines.lock().iter().any(|line| line.contains(&mark))
        })
        .await;
        let lines = self.lines.lock();
        let commands = lines.iter().filter_map(|line| parse(line));
        commands.filter(|command| !is_set_up(command)).collect()
    }

    /// Starts counting anew.
    pub(crate) async fn clear(&self, server: &RedisServer) {
        self.commands(server).await;
        self.lines.lock().clear();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn is_set_up(command: &MonitoredCommand) -> bool {
    let is_mark = command.name == "PING" && !command.arguments.is_empty();
    let is_replication = matches!(command.name.as_str(), "REPLCONF" | "PSYNC");
    is_mark || is_replication || matches!(command.name.as_str(), "HELLO" | "CLIENT" | "AUTH" | "MONITOR")
}

/// Takes apart a line such as `1700000000.1 [0 127.0.0.1:4000] "set" "key" "value"`.
fn parse(line: &str) -> Option<MonitoredCommand> {
    let (head, quoted) = line.split_once("] \"")?;
    let quoted = quoted.strip_suffix('"')?;
    let mut words = quoted.split("\" \"").map(str::to_owned);
    let name = words.next()?.to_ascii_uppercase();
    Some(MonitoredCommand {
        name,
        arguments: words.collect(),
        from_script: head.ends_with(" lua"),
    })
}
