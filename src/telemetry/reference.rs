//! The page of metrics, made from their declarations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Metrics;
use super::declare::Family;
use super::metrics::SECTIONS;

const HEAD: &str = "# Metrics

<!-- Made from src/telemetry/metrics.rs: do not edit. `CLOAKROOM_WRITE=1 cargo test --test telemetry page` writes it. -->

Scrape `/metrics` on the admin port (9090) of every replica. Names follow Prometheus's conventions: base units, `_total`
for counters. Label values come from fixed sets (classes, routes, reasons) and are there from the first scrape, never
from users: no session id, user id or path is a label. Only `cloakroom_server_sessions` grows with the fleet, by a series
for each server that has sessions.

What to look at first, and which alerts are worth having: [operations](operations.md#what-to-watch).
";

const PROCESS: &str = "
## The process

As every Prometheus client on Linux shows them: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_threads`,
`process_start_time_seconds`.
";

/// The page `docs/metrics.md`.
pub fn metrics_page() -> Result<String, prometheus::Error> {
    let metrics = Metrics::new()?;
    let shown = metrics.registry.gather();
    let mut known: BTreeMap<&str, (String, BTreeMap<&str, Vec<&str>>)> = BTreeMap::new();
    for family in &shown {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let (_, values) = known.entry(family.name()).or_insert((kind, BTreeMap::new()));
        for label in family
            .get_metric()
            .iter()
            .flat_map(prometheus::proto::Metric::get_label)
        {
            let values = values.entry(label.name()).or_default();
            if !values.contains(&label.value()) {
                values.push(label.value());
            }
        }
    }
    let mut page = HEAD.to_owned();
    for (title, introduction, families) in SECTIONS {
        let _ = write!(page, "\n## {title}\n\n");
        if !introduction.is_empty() {
            let _ = write!(page, "{introduction}\n\n");
        }
        page += "| metric | type | labels | what it says |\n|---|---|---|---|\n";
        for family in *families {
            let (kind, values) = known.get(family.name).cloned().unwrap_or_default();
            let _ = writeln!(
                page,
                "| `{}` | {kind} | {} | {} |",
                family.name,
                labels(family, &values),
                sentences(family)
            );
        }
    }
    page += PROCESS;
    Ok(page)
}

/// The names of all metrics of this program's own, with their labels.
pub fn metric_names() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let families = SECTIONS.iter().flat_map(|(_, _, families)| families.iter());
    families.map(|family| (family.name, family.labels))
}

/// Labels with the values that are known; those that settings decide on by an ellipsis.
fn labels(family: &Family, values: &BTreeMap<&str, Vec<&str>>) -> String {
    let told = family.labels.iter().map(|label| {
        let open = ["class", "server_id", "webhook", "route", "method", "status", "version"].contains(label);
        match values.get(label) {
            Some(values) if !open => format!("`{label}`: {}", values.join(", ")),
            _ => format!("`{label}`: …"),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn sentences(family: &Family) -> String {
    let buckets = family.buckets.concat();
    match (buckets.first(), buckets.last()) {
        (Some(first), Some(last)) => format!("{} Buckets from {first} to {last}.", family.text()),
        _ => family.text().to_owned(),
    }
}
