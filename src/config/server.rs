//! Where the service listens, and who it is among its replicas.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::problem::Checks;
use super::reader::{Reader, Section};

/// Longest server id in bytes: a Kubernetes pod name (RFC 1123 subdomain).
const LONGEST_SERVER_ID: usize = 253;

/// The top-level settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `listen`: the traffic listener; default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// `admin_listen`: metrics and health; default `0.0.0.0:9090`.
    pub admin_listen: SocketAddr,
    /// `server_id`: the name of this replica, unique among them; default the host name, which is the pod's name.
    pub server_id: String,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            listen: any(8080),
            admin_listen: any(9090),
            server_id: host_name(),
        }
    }
}

impl Section for ServerSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("listen", &mut self.listen);
        reader.value("admin_listen", &mut self.admin_listen);
        reader.value("server_id", &mut self.server_id);
    }

    fn validate(&self, checks: &mut Checks) {
        if !is_server_id(&self.server_id) {
            let what = format!(
                "{:?} is not 1 to {LONGEST_SERVER_ID} letters, digits, dots, dashes and underscores",
                self.server_id
            );
            checks.fail("server_id", what);
        }
        let (traffic, admin) = (self.listen, self.admin_listen);
        let one_host = traffic.ip() == admin.ip() || traffic.ip().is_unspecified() || admin.ip().is_unspecified();
        if one_host && traffic.port() == admin.port() && traffic.port() != 0 {
            checks.fail_among(
                &["admin_listen", "listen"],
                format!("both listeners would use port {}", traffic.port()),
            );
        }
    }
}

fn is_server_id(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=LONGEST_SERVER_ID).contains(&text.len()) && text.chars().all(is_allowed)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
