//! The built program as a process: started, listened to, stopped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::Value;

use super::supervised::Supervised;
use super::wait::{SOON, eventually};

/// The settings of the test's own environment that must not leak into the program.
const OWN_VARIABLES: &str = "CLOAKROOM_";

/// A running program; dropped, it is killed, and what it printed is shown if the test is failing.
pub(crate) struct Program {
    name: String,
    process: Mutex<Supervised>,
    output: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts the `cloakroom` that this test run built. Nothing is listening yet: see [`Program::listener`].
    pub(crate) fn cloakroom(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start(Path::new(env!("CARGO_BIN_EXE_cloakroom")), arguments, environment)
    }

    /// The same in a group of its own, by which its packets can be told; only root may.
    pub(crate) fn cloakroom_in_group(group: u32, arguments: &[&str]) -> Self {
        let group = group.to_string();
        let program = env!("CARGO_BIN_EXE_cloakroom");
        let own = ["--regid", &group, "--clear-groups", program];
        Self::start(Path::new("setpriv"), &[&own, arguments].concat(), &[])
    }

    pub(crate) fn start(path: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(OWN_VARIABLES) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Supervised::spawn(&mut command, None);
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = process.child_mut().stdout.take().expect("a piped standard output");
        let stderr = process.child_mut().stderr.take().expect("a piped standard error");
        collect(stdout, &output);
        collect(stderr, &output);
        let name = format!("{} {} [{}]", path.display(), arguments.join(" "), process.pid());
        Self {
            name,
            process: Mutex::new(process),
            output,
        }
    }

    /// Everything printed until now, on both outputs, a line each.
    pub(crate) fn output(&self) -> Vec<String> {
        self.output.lock().clone()
    }

    /// The log lines printed until now; what is no JSON object is passed over.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.output();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Value::is_object)
            .collect()
    }

    /// The address of the listener `traffic` or `admin`, as soon as the program logs it.
    pub(crate) async fn listener(&self, name: &str) -> SocketAddr {
        let what = format!("the program to listen for {name}");
        eventually(SOON, &what, async || {
            if let Some(address) = self.log().iter().find_map(|line| listening(line, name)) {
                return Some(address);
            }
            let ended = self.exit_status();
            assert!(
                ended.is_none(),
                "{} ended with {ended:?} before it listened for {name}",
                self.name
            );
            None
        })
        .await
    }

    /// Waits until the program has logged a line with this message, and returns the first.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        let what = format!("the program to log {message:?}");
        eventually(SOON, &what, async || {
            self.log()
                .into_iter()
                .find(|line| field(line, "message") == Some(message))
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.lock().pid()
    }

    /// SIGTERM: asks the program to drain and end.
    pub(crate) fn terminate(&self) {
        self.process.lock().signal(Signal::TERM);
    }

    /// SIGINT, as by Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.process.lock().signal(Signal::INT);
    }

    /// SIGKILL.
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

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.process.lock().exit_status()
    }

    /// Waits until the program has ended.
    pub(crate) async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        eventually(limit, &what, async || self.exit_status()).await
    }

    /// Asks the program to end and waits until it has.
    pub(crate) async fn stop(&self, limit: Duration) -> ExitStatus {
        self.terminate();
        self.wait_exit(limit).await
    }

    /// The resident memory in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a line VmRSS");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kibibytes * 1024
    }

    /// The processor time spent so far, in user mode and in the kernel.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The name, in parentheses, may hold spaces: count from its end. Then utime and stime are the 12th and 13th.
        let (_, after_name) = stat.rsplit_once(") ").expect("a process has a name");
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: u64 = [fields[11], fields[12]]
            .iter()
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).expect("a small number")
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("a running process")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.process.lock().kill();
        if std::thread::panicking() {
            eprintln!("--- output of {}\n{}\n---", self.name, self.output().join("\n"));
        }
    }
}

fn collect(stream: impl Read + Send + 'static, output: &Arc<Mutex<Vec<String>>>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            output.lock().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

fn listening(line: &Value, name: &str) -> Option<SocketAddr> {
    let is_it = field(line, "message") == Some("listening") && field(line, "listener") == Some(name);
    is_it.then(|| field(line, "address"))??.parse().ok()
}

/// A field of a log line, at its top or below `fields`.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}
