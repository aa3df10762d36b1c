use std::fmt;
use std::net::SocketAddr;

use super::seed::Seeds;

const BOLD: &str = "\x1b[1m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
const JSON: &str = "-H 'Content-Type: application/json'";

/// A replica and its addresses.
pub(super) struct Place {
    pub(super) server_id: String,
    pub(super) traffic: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// What `dev` says when it is up. Each curl line works by itself, in any order.
pub(super) struct Banner {
    pub(super) places: Vec<Place>,
    pub(super) seeds: Seeds,
    /// The name of the session cookie.
    pub(super) cookie: String,
    pub(super) colours: bool,
}

impl Banner {
    /// The address of a replica; where there are fewer, one of them stands in.
    fn replica(&self, number: usize) -> String {
        format!("http://{}", self.places[number % self.places.len()].traffic)
    }

    fn admin(&self, number: usize) -> String {
        format!("http://{}", self.places[number % self.places.len()].admin)
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("{colour}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }

    fn examples(&self) -> [(&'static str, String); 13] {
        let (first, second, third) = (self.replica(0), self.replica(1), self.replica(2));
        let (alice, bob) = (self.seeds.alice.session.id, self.seeds.bob.session.id);
        let token = self.seeds.alice.token.expose();
        let anonymous = self.seeds.anonymous.token.expose();
        let cookie = &self.cookie;
        [
            (
                "log somebody in on the first replica",
                format!(
                    "curl -s {JSON} -d '{{\"user_id\":\"carol\",\"data\":{{\"theme\":\"dark\"}}}}' {first}/v1/sessions"
                ),
            ),
            (
                "check alice's token on the second",
                format!("curl -s {JSON} -d '{{\"token\":\"{token}\"}}' {second}/v1/sessions/validate"),
            ),
            (
                "read her session on the third",
                format!("curl -s {third}/v1/sessions/{alice}"),
            ),
            (
                "change it on the second",
                format!(
                    "curl -s -X PATCH {JSON} -d '{{\"data\":{{\"theme\":\"light\"}}}}' {second}/v1/sessions/{alice}"
                ),
            ),
            (
                "fill her cart on the third",
                format!(
                    "curl -s {JSON} -d '{{\"product_id\":\"hat\",\"quantity\":1}}' {third}/v1/sessions/{alice}/cart/items"
                ),
            ),
            (
                "who am I, as an anonymous browser asks",
                format!("curl -s -H 'Cookie: {cookie}={anonymous}' {first}/session"),
            ),
            (
                "may alice pass, as a gateway asks",
                format!("curl -s -i -H 'Cookie: {cookie}={token}' '{second}/auth?role=editor'"),
            ),
            ("bob's sessions", format!("curl -s {first}/v1/users/bob/sessions")),
            (
                "log bob out everywhere, on the third",
                format!("curl -s -X DELETE {third}/v1/users/bob/sessions"),
            ),
            (
                "one of his sessions on the first: not found, once he is logged out",
                format!("curl -s {first}/v1/sessions/{bob}"),
            ),
            ("count the fleet's sessions", format!("curl -s {second}/v1/stats")),
            (
                "watch what happens (Ctrl-C ends it)",
                format!("curl -sN {third}/v1/events"),
            ),
            ("metrics for Prometheus", format!("curl -s {}/metrics", self.admin(0))),
        ]
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replicas = match self.places.len() {
            1 => "one replica".to_owned(),
            count => format!("{count} replicas"),
        };
        writeln!(
            f,
            "{}",
            self.coloured(BOLD, &format!("cloakroom dev: {replicas} over one store in memory"))
        )?;
        let warning = "Not for production: every caller on this host is admin, and all sessions end with this process.";
        writeln!(f, "{}\n", self.coloured(YELLOW, warning))?;
        for place in &self.places {
            let Place {
                server_id,
                traffic,
                admin,
            } = place;
            writeln!(
                f,
                "  {server_id}  API http://{traffic}  metrics and health http://{admin}"
            )?;
        }
        let shop = self.coloured(BOLD, &format!("{}/shop", self.replica(0)));
        writeln!(f, "\nA shop with these sessions, on each replica: {shop}")?;
        writeln!(f, "\nEach of these lines works by itself:")?;
        for (what, line) in self.examples() {
            writeln!(f, "\n{}\n{line}", self.coloured(DIM, &format!("# {what}")))?;
        }
        writeln!(f, "\nCtrl-C ends the replicas.")
    }
}
