//! The metrics of the code, of their page, and of whatever in `grafana/` asks for them: the same, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cloakroom::telemetry::{Metrics, metric_names, metrics_page};

/// Set to write the page instead of holding it against the code.
const WRITE: &str = "CLOAKROOM_WRITE";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_of_metrics_is_what_the_code_says() {
    let path = root().join("docs/metrics.md");
    let made = metrics_page().unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == made,
        "docs/metrics.md is not what src/telemetry/metrics.rs says: {WRITE}=1 cargo test --test telemetry page"
    );
    assert!(metric_names().count() >= 25);
}

/// Every file below a directory, if it is there.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

/// The metrics that texts name. A name that a recording rule gives has a colon, and is none of the program's.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let words = text.split(|c| !is_part(c));
    let ours = words.filter(|word| word.starts_with("cloakroom_") && !word.contains(':') && !word.ends_with('_'));
    ours.collect()
}

/// The metric that a series belongs to.
fn family(series: &str) -> &str {
    let known = |name: &str| metric_names().any(|(known, _)| known == name);
    let parts = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|part| series.strip_suffix(part));
    parts.into_iter().find(|name| known(name)).unwrap_or(series)
}

/// Dashboards and rules, by their paths; pages about them are prose.
fn dashboards_and_rules() -> BTreeMap<PathBuf, String> {
    let asks = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("json" | "yaml" | "yml"))
    };
    let files = files_below(&root().join("grafana")).into_iter().filter(asks);
    files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn dashboards_and_rules_name_metrics_that_are_there() {
    let known: BTreeSet<&str> = metric_names().map(|(name, _)| name).collect();
    for (path, text) in dashboards_and_rules() {
        for name in named(&text) {
            let shown = path.strip_prefix(root()).unwrap().display();
            assert!(
                known.contains(family(name)),
                "{shown} asks for {name}, which no server has"
            );
        }
    }
}

/// As soon as there are dashboards at all.
#[test]
fn every_metric_is_in_a_dashboard_or_a_rule() {
    let texts = dashboards_and_rules();
    if !texts
        .keys()
        .any(|path| path.extension().is_some_and(|extension| extension == "json"))
    {
        return;
    }
    let asked: BTreeSet<&str> = texts.values().flat_map(|text| named(text)).map(family).collect();
    let unseen: Vec<_> = metric_names().filter(|(name, _)| !asked.contains(name)).collect();
    assert!(unseen.is_empty(), "nobody looks at {unseen:?}");
}

/// Pages and runbooks.
#[test]
fn pages_name_metrics_that_are_there() {
    let known: BTreeSet<&str> = metric_names().map(|(name, _)| name).collect();
    let pages = [files_below(&root().join("docs")), files_below(&root().join("grafana"))].concat();
    let mut told = 0;
    for path in pages
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let text = std::fs::read_to_string(path).unwrap();
        // nginx's variables in examples begin alike.
        for name in named(&text)
            .into_iter()
            .filter(|name| !text.contains(&format!("${name}")))
        {
            told += 1;
            assert!(
                known.contains(family(name)),
                "{} names {name}, which no server has",
                path.display()
            );
        }
    }
    assert!(told >= 25, "{told}");
}

#[test]
fn every_metric_has_a_help_that_is_a_sentence_and_a_name_that_fits_its_kind() {
    let (text, _) = Metrics::new().unwrap().render().unwrap();
    let own = |prefix: &str| -> BTreeMap<&str, &str> {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
        lines.filter(|(name, _)| name.starts_with("cloakroom_")).collect()
    };
    let (helps, types) = (own("# HELP "), own("# TYPE "));
    let later = [
        "cloakroom_http_requests_total",
        "cloakroom_http_request_duration_seconds",
    ];
    for (name, _) in metric_names().filter(|(name, _)| !later.contains(name)) {
        let (help, kind) = (helps.get(name), types.get(name));
        assert!(
            help.is_some_and(|help| help.len() > 10 && help.ends_with('.')),
            "{name}: {help:?}"
        );
        assert_eq!(name.ends_with("_total"), kind == Some(&"counter"), "{name}: {kind:?}");
    }
}
