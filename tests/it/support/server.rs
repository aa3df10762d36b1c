//! One Redis (or Valkey) server process: settings, life and death, commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, TlsCertificates, Value};
use rustix::process::Signal;
use tempfile::TempDir;

use super::monitor::Monitor;
use super::supervised::Supervised;
use super::tls::TlsMaterial;
use super::wait::{SOON, eventually};

/// Names an executable `valkey-server`; `tests/run` sets it.
const VALKEY_VARIABLE: &str = "CLOAKROOM_TEST_VALKEY_SERVER";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The user as whom the fixture itself works, and replicas follow their primary, when a server has an ACL.
const FIXTURE_USER: &str = "fixture";
const FIXTURE_PASSWORD: &str = "fixture-password";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServerBinary {
    #[default]
    Redis,
    Valkey,
}

impl ServerBinary {
    /// The executable, or `None` where this machine has none.
    pub(crate) fn path(self) -> Option<PathBuf> {
        let (name, named) = match self {
            Self::Redis => ("redis-server", None),
            Self::Valkey => ("valkey-server", std::env::var_os(VALKEY_VARIABLE)),
        };
        if let Some(path) = named.filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path));
        }
        let directories = std::env::var_os("PATH")?;
        std::env::split_paths(&directories)
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
    }
}

/// A user that the server knows besides the fixture's own; the `default` user is switched off.
#[derive(Clone, Debug)]
pub(crate) struct Acl {
    pub(crate) username: String,
    pub(crate) password: String,
    /// ACL rules, such as `~* &* +@all`.
    pub(crate) rules: String,
}

impl Acl {
    pub(crate) fn all_rights(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            rules: "~* &* +@all".to_owned(),
        }
    }
}

/// How a server is started. What is not set is Redis's default, but for `maxmemory-policy noeviction`,
/// `hash-max-listpack-value 1024` and no persistence.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    pub(crate) binary: ServerBinary,
    /// Serves TLS only.
    pub(crate) tls: Option<TlsMaterial>,
    pub(crate) acl: Option<Acl>,
    /// Further lines of the configuration file; they win over the fixture's.
    pub(crate) settings: Vec<(String, String)>,
}

impl ServerOptions {
    /// The options with one more line of the configuration file.
    pub(crate) fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A running server; dropped, it is killed and its directory removed.
pub(crate) struct RedisServer {
    address: SocketAddr,
    public_address: SocketAddr,
    options: ServerOptions,
    process: Mutex<Supervised>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server on `address` and waits until it answers. Clients reach it at `public_address`, which is another
    /// one where a proxy stands between.
    pub(crate) async fn start(options: ServerOptions, address: SocketAddr, public_address: SocketAddr) -> Self {
        let directory = TempDir::with_prefix("cloakroom-redis-").expect("a temporary directory");
        let configuration = configuration(&options, address, directory.path());
        std::fs::write(directory.path().join("redis.conf"), configuration).expect("write redis.conf");
        let process = Mutex::new(launch(options.binary, directory.path()));
        let server = Self {
            address,
            public_address,
            options,
            process,
            directory,
        };
        server.wait_until_up().await;
        server
    }

    /// Where the server itself listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for the program under test: the public address, with the user's name and password if there is an ACL.
    pub(crate) fn url(&self) -> String {
        let user = self
            .options
            .acl
            .as_ref()
            .map(|acl| (acl.username.as_str(), acl.password.as_str()));
        self.url_as(user, self.public_address)
    }

    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        self.options.tls.as_ref().map(|_| self.directory.path().join("ca.pem"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.lock().pid()
    }

    /// SIGKILL: what memory held is lost.
    pub(crate) fn kill(&self) {
        self.process.lock().kill();
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.process.lock().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.process.lock().signal(Signal::CONT);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.lock().exit_status().is_none()
    }

    /// Starts the server again, with its directory, after it was killed; kills it first if need be.
    pub(crate) async fn restart(&self) {
        {
            let mut process = self.process.lock();
            process.kill();
            *process = launch(self.options.binary, self.directory.path());
        }
        self.wait_until_up().await;
    }

    /// A client with all rights that goes around any proxy.
    pub(crate) fn client(&self) -> Client {
        let user = self.options.acl.as_ref().map(|_| (FIXTURE_USER, FIXTURE_PASSWORD));
        let url = self.url_as(user, self.address);
        let client = match &self.options.tls {
            None => Client::open(url),
            Some(tls) => {
                let root_cert = Some(tls.ca.clone().into_bytes());
                Client::build_with_tls(
                    url,
                    TlsCertificates {
                        client_tls: None,
                        root_cert,
                    },
                )
            }
        };
        client.expect("a valid URL")
    }

    /// A new connection with all rights, for use in the runtime of the caller.
    pub(crate) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.client()
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Runs one command on a connection of its own.
    pub(crate) async fn try_command(&self, arguments: &[&str]) -> RedisResult<Value> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd(arguments[0]);
        command.arg(&arguments[1..]);
        command.query_async(&mut connection).await
    }

    /// Runs one command that must succeed.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Value {
        let reply = self.try_command(arguments).await;
        reply.unwrap_or_else(|error| panic!("{} at {}: {error}", arguments.join(" "), self.address))
    }

    /// Runs one command that must succeed, and reads its answer as a `T`.
    pub(crate) async fn ask<T: FromRedisValue>(&self, arguments: &[&str]) -> T {
        let reply = self.command(arguments).await;
        redis::from_redis_value(reply)
            .unwrap_or_else(|error| panic!("{} at {}: {error}", arguments.join(" "), self.address))
    }

    /// One field of `INFO`, or `None` where the server cannot be asked or does not name it.
    pub(crate) async fn info(&self, field: &str) -> Option<String> {
        let reply = self.try_command(&["INFO"]).await.ok()?;
        let text: String = redis::from_redis_value(reply).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }

    /// The bytes of data and overhead that the server accounts for.
    pub(crate) async fn used_memory(&self) -> u64 {
        let text = self.info("used_memory").await.expect("a server that can be asked");
        text.parse().expect("a number of bytes")
    }

    /// The keys of this server that match a glob, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut connection = self.connect().await.expect("a connection");
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            let (next, page): (u64, Vec<String>) = scan.query_async(&mut connection).await.expect("SCAN");
            keys.extend(page);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// Collects, from now on, the commands that this server executes.
    pub(crate) async fn monitor(&self) -> Monitor {
        Monitor::attach(self).await
    }

    /// What the server wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    async fn wait_until_up(&self) {
        let what = format!("the server on {} to answer", self.address);
        eventually(SOON, &what, async || {
            assert!(
                self.is_running(),
                "the server on {} did not start:\n{}",
                self.address,
                self.log()
            );
            self.try_command(&["PING"]).await.is_ok()
        })
        .await;
    }

    fn url_as(&self, user: Option<(&str, &str)>, address: SocketAddr) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let user = user
            .map(|(name, password)| format!("{name}:{password}@"))
            .unwrap_or_default();
        format!("{scheme}://{user}{address}")
    }
}

fn launch(binary: ServerBinary, directory: &Path) -> Supervised {
    let path = binary
        .path()
        .unwrap_or_else(|| panic!("no executable for {binary:?} on this machine"));
    let mut command = Command::new(path);
    command
        .arg("redis.conf")
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Supervised::spawn(&mut command, Some(directory))
}

fn configuration(options: &ServerOptions, address: SocketAddr, directory: &Path) -> String {
    let port = address.port();
    let mut lines = vec![
        format!("bind {}", address.ip()),
        format!("dir {}", directory.display()),
        "logfile server.log".to_owned(),
        "save \"\"".to_owned(),
        "appendonly no".to_owned(),
        "maxmemory-policy noeviction".to_owned(),
        "hash-max-listpack-value 1024".to_owned(),
        "repl-diskless-sync-delay 0".to_owned(),
    ];
    if let Some(tls) = &options.tls {
        let files = tls.write_to(directory);
        lines.push(format!(
            "port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients no"
        ));
        lines.push(format!("tls-ca-cert-file {}", files.ca.display()));
        lines.push(format!(
            "tls-cert-file {}\ntls-key-file {}",
            files.certificate.display(),
            files.key.display()
        ));
    } else {
        lines.push(format!("port {port}"));
    }
    if let Some(acl) = &options.acl {
        lines.push("user default off".to_owned());
        lines.push(format!("user {FIXTURE_USER} on >{FIXTURE_PASSWORD} ~* &* +@all"));
        lines.push(format!("user {} on >{} {}", acl.username, acl.password, acl.rules));
        lines.push(format!("masteruser {FIXTURE_USER}\nmasterauth {FIXTURE_PASSWORD}"));
    }
    lines.extend(options.settings.iter().map(|(name, value)| format!("{name} {value}")));
    lines.join("\n") + "\n"
}

/// What `MIGRATE` needs to authenticate at its target.
pub(crate) fn migrate_credentials(options: &ServerOptions) -> Vec<&'static str> {
    match options.acl {
        Some(_) => vec!["AUTH2", FIXTURE_USER, FIXTURE_PASSWORD],
        None => Vec::new(),
    }
}
