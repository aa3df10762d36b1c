//! Processors of their own for the servers that are measured.
//!
//! Where a server's threads and the load chase each other over the processors, chance decides in each run whether one
//! thread serves all connections or two do in turn, with their caches: the same server then costs 10 or 13 us a request,
//! and the baseline likewise.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::process::Program;

/// The processors of the servers, as `taskset` of util-linux takes them.
static OF_SERVERS: OnceLock<String> = OnceLock::new();

/// Gives the first half of the processors to the servers that [`start_server`] starts, and the rest to this process and all
/// others that it starts. To be called before there are threads. Whether there was anything to part.
pub(crate) fn part() -> bool {
    let all = usable();
    let (servers, others) = all.split_at(all.len() / 2);
    if servers.is_empty() {
        return false;
    }
    let own = std::process::id().to_string();
    let kept = Command::new("taskset")
        .args(["--pid", "--cpu-list", &others.join(","), &own])
        .output()
        .expect("run taskset");
    assert!(kept.status.success(), "{kept:?}");
    OF_SERVERS.set(servers.join(",")).is_ok()
}

/// Starts a server among the servers' processors.
pub(crate) fn start_server(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
    let Some(cpus) = OF_SERVERS.get() else {
        return Program::start(program, arguments, environment);
    };
    let program = program.to_str().expect("a path that is text");
    let own = ["--cpu-list", cpus, program];
    Program::start(Path::new("taskset"), &[&own, arguments].concat(), environment)
}

/// The processors that this process may use.
fn usable() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process's status");
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = allowed.expect("a list of processors").trim().split(',');
    let numbers = ranges.flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a processor's number");
        number(first)..=number(last)
    });
    numbers.map(|number| number.to_string()).collect()
}
