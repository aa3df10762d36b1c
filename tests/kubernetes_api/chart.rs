//! What the chart gives its servers, as Helm renders it: their rights, and the Lease.

use std::sync::OnceLock;

use serde_json::Value;

use crate::api_server::program;
use crate::helm::{self, Rendered};

/// Values with which the chart makes all that it can give: accounts make the `ClusterRole`.
const VALUES: &str = "redis.urls={redis://redis:6379},serviceAccounts[0].namespace=shop,serviceAccounts[0].name=web,\
                      serviceAccounts[0].scopes={sessions:read}";

fn rendered() -> &'static Rendered {
    static RENDERED: OnceLock<Rendered> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let rendered = helm::render_by(&program("helm"), &["--set", VALUES]);
        rendered.unwrap_or_else(|error| panic!("{VALUES}: {error}"))
    })
}

fn rules_of(kind: &str) -> Vec<Value> {
    let roles = rendered().of_kind(kind);
    assert_eq!(roles.len(), 1, "{kind}");
    roles[0]["rules"].as_array().unwrap().clone()
}

/// The rules of its Role.
pub(crate) fn rules() -> Vec<Value> {
    rules_of("Role")
}

/// The rules of its `ClusterRole`: judging callers' tokens.
pub(crate) fn cluster_rules() -> Vec<Value> {
    rules_of("ClusterRole")
}

/// Its Lease, as it is before anybody has taken it.
pub(crate) fn lease() -> Value {
    let mut lease = rendered().of_kind("Lease")[0].clone();
    // Where the release would be.
    lease["metadata"].as_object_mut().unwrap().remove("namespace");
    lease
}
