//! The processes of a cluster whose node is this machine: what happens to them happens as no pod could bring it about.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The first process of a pod's container with a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(Pid);

impl Process {
    /// The server of a pod as the API tells of it, if it runs.
    pub(crate) fn of_server(pod: &Value) -> Option<Self> {
        let uid = pod["metadata"]["uid"].as_str().expect("a uid");
        // Where the cgroups are made by systemd, it writes no dashes.
        let cgroups = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
        let entries = std::fs::read_dir("/proc").expect("processes");
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.filter(|id| is_server(*id, &cgroups).unwrap_or(false))
            .find_map(Pid::from_raw)
            .map(Self)
    }

    /// Sends it a signal; false where it has ended.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        kill_process(self.0, signal).is_ok()
    }
}

/// Whether a process is a server of the pod with one of these cgroups: not what `kubectl exec` started beside it.
fn is_server(id: i32, cgroups: &[String]) -> Option<bool> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).ok();
    if read("comm")?.trim() != "cloakroom" {
        return Some(false);
    }
    let is_first = read("status")?
        .lines()
        .any(|line| line.starts_with("NSpid:") && line.split_whitespace().next_back() == Some("1"));
    let cgroup = read("cgroup")?;
    Some(is_first && cgroups.iter().any(|name| cgroup.contains(name)))
}
