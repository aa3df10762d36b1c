//! A child process that cannot outlive the test process, however that one ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Waits for the end of its standard input. Unless it was released by a line before, the test process has died: it kills
/// the process and removes the directory that nobody else will.
const WATCHER: &str = r#"read -r released || { kill -9 "$1"; [ -z "$2" ] || rm -rf "$2"; }"#;

/// A child process together with a watcher that kills it when the test process is gone, even by SIGKILL.
pub(crate) struct Supervised {
    child: Child,
    watcher: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervised {
    /// Starts `command` in a process group of its own, so that an interrupt from the terminal reaches only the test.
    ///
    /// `scratch`, if given, is removed by the watcher when the test process dies without clearing up.
    pub(crate) fn spawn(command: &mut Command, scratch: Option<&Path>) -> Self {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {}: {error}", command.get_program().display()));
        let mut watcher = Command::new("sh")
            .args(["-c", WATCHER, "watcher", &child.id().to_string()])
            .arg(scratch.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start a shell as watcher");
        let lifeline = watcher.stdin.take();
        Self {
            child,
            watcher,
            lifeline,
        }
    }

    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process; one that has ended already is left alone.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_some() {
            return;
        }
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a process id");
        kill_process(pid, signal).expect("a process not yet reaped takes a signal");
    }

    /// The exit status, if the process has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("wait for a child");
        if status.is_some() {
            self.release_watcher();
        }
        status
    }

    /// Kills the process (also a frozen one) and waits until it is gone.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        let status = self.child.wait().expect("wait for a killed child");
        self.release_watcher();
        status
    }

    /// The process id may be given to another process from now on: the watcher must not touch it any more.
    fn release_watcher(&mut self) {
        if let Some(mut lifeline) = self.lifeline.take() {
            // A watcher that is gone already needs no release.
            let _ = lifeline.write_all(b"released\n");
            drop(lifeline);
            let _ = self.watcher.wait();
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}
