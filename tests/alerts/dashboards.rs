//! The dashboards as files: what Grafana's own linter asks of a dashboard, and what people do.
//!
//! The linter (`dashboard-linter lint --strict`) is a program of its own, which `tests/run` builds. Each of its rules is held
//! here too, by name of what it asks, for who has no Go at hand: a templated data source and job, panels with that data source, title, description and unit, queries that keep to
//! the job, `$__rate_interval`, counters only as rates, variables that are asked again when the time changes. What it asks
//! about `instance` is asked here of `pod`: `grafana/dashboards/.lint` says so to the linter.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{files, root, succeed, text_of};

/// A query of a panel.
pub(crate) struct Target {
    pub(crate) dashboard: String,
    pub(crate) panel: String,
    pub(crate) panel_id: u64,
    /// As written, with variables.
    pub(crate) expression: String,
    pub(crate) legend: String,
    pub(crate) instant: bool,
}

pub(crate) fn all() -> Vec<(String, Value)> {
    files("grafana/dashboards", ".json")
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().display().to_string();
            (name, serde_json::from_str(&text_of(path)).unwrap())
        })
        .collect()
}

/// The linter itself, where `CLOAKROOM_TEST_DASHBOARD_LINTER` names it; without it this says so and passes.
#[test]
fn grafanas_own_linter_finds_nothing() {
    let Some(linter) = std::env::var_os("CLOAKROOM_TEST_DASHBOARD_LINTER") else {
        eprintln!("passed over: CLOAKROOM_TEST_DASHBOARD_LINTER names no dashboard-linter");
        return;
    };
    let lint = |path: &Path| {
        let mut command = Command::new(&linter);
        command.args(["lint", "--strict"]).arg(path);
        command
    };
    for path in files("grafana/dashboards", ".json") {
        succeed(&mut lint(&path));
    }

    // One that has something to be found.
    let directory = tempfile::tempdir().unwrap();
    let (_, mut dashboard) = all().swap_remove(0);
    dashboard["editable"] = true.into();
    let path = directory.path().join("editable.json");
    std::fs::write(&path, dashboard.to_string()).unwrap();
    std::fs::copy(root().join("grafana/dashboards/.lint"), directory.path().join(".lint")).unwrap();
    let output = lint(&path).output().unwrap();
    assert!(!output.status.success(), "an editable dashboard passed: {output:?}");
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row")
}

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = Vec::new();
    for (name, dashboard) in all() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().unwrap() {
                targets.push(Target {
                    dashboard: name.clone(),
                    panel: text(&panel["title"]),
                    panel_id: panel["id"].as_u64().unwrap(),
                    expression: text(&target["expr"]),
                    legend: text(&target["legendFormat"]),
                    instant: target["instant"] == true,
                });
            }
        }
    }
    assert!(targets.len() > 80, "{}", targets.len());
    targets
}

/// An expression as Grafana sends it when nothing is selected.
pub(crate) fn substituted(expression: &str) -> String {
    let sent = expression
        .replace("$namespace", ".*")
        .replace("$job", ".+")
        .replace("$pod", ".*")
        .replace("$__rate_interval", "1m");
    assert!(!sent.contains('$'), "{expression}: an unknown variable");
    sent
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

#[test]
fn data_source_namespace_job_and_pod_are_chosen_at_the_top() {
    for (name, dashboard) in all() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: BTreeSet<&str> = variables
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert!(
            names.is_superset(&BTreeSet::from(["datasource", "namespace", "job"])),
            "{name}: {names:?}"
        );
        // The overview's counts come from the leader alone, and its bands from all servers: there is no pod to choose.
        assert_eq!(names.contains("pod"), name == "internals", "{name}: {names:?}");
        for variable in variables.iter().filter(|variable| variable["name"] != "datasource") {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
            assert!(
                variable["multi"] == true && variable["includeAll"] == true,
                "{name}: {variable}"
            );
            assert_eq!(
                variable["refresh"], 2,
                "{name}: to be asked again when the time changes"
            );
        }
        assert_eq!(dashboard["editable"], false);
        assert!(text(&dashboard["uid"]).starts_with("cloakroom-"));
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_has_a_place() {
    for (name, dashboard) in all() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: an id twice");
            let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{name}: {}", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{name}: {} lies on another panel", panel["title"]);
                }
            }
        }
        for panel in panels(&dashboard) {
            let title = text(&panel["title"]);
            assert!(
                !title.is_empty() && text(&panel["description"]).ends_with('.'),
                "{name}: {title}"
            );
            assert!(
                !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(),
                "{name}: {title}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{name}: {title}");
        }
    }
}

/// What the linter calls `target-job-rule`, `target-instance-rule` and `target-rate-interval-rule`, by our labels.
#[test]
fn every_query_keeps_to_what_was_chosen_and_to_the_interval_of_the_scrapes() {
    for Target {
        dashboard,
        panel,
        expression,
        ..
    } in targets()
    {
        let place = format!("{dashboard}: {panel}: {expression}");
        let selectors = expression.matches('{').count();
        let job = expression.matches(r#"namespace=~"$namespace", job=~"$job""#).count();
        assert!(selectors > 0 && selectors == job, "{place}");
        if dashboard == "internals" && !expression.contains("cloakroom_server_sessions") {
            assert_eq!(expression.matches(r#"pod=~"$pod""#).count(), selectors, "{place}");
        }
        for rate in expression.split("rate(").skip(1) {
            let window = rate.split_once('[').unwrap().1.split_once(']').unwrap().0;
            assert_eq!(window, "$__rate_interval", "{place}");
        }
    }
}

/// What the linter calls `target-counter-agg-rule` and `target-histogram-rule`. A counter says nothing by its height.
#[test]
fn counters_are_shown_as_rates_and_histograms_as_quantiles() {
    let mut seen = 0;
    for Target {
        dashboard,
        panel,
        expression,
        ..
    } in targets()
    {
        for (at, _) in expression.match_indices("cloakroom_") {
            let (before, metric) = expression.split_at(at);
            let name = metric.split('{').next().unwrap();
            let place = format!("{dashboard}: {panel}: {expression}");
            if name.ends_with("_total") || name.ends_with("_bucket") || name.ends_with("_count") {
                assert!(before.ends_with("rate(") || before.ends_with("increase("), "{place}");
                seen += 1;
            }
            if name.ends_with("_bucket") {
                assert!(
                    expression.contains("histogram_quantile(") && expression.contains("le"),
                    "{place}"
                );
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn every_link_leads_to_a_runbook_that_is_there() {
    let mut links = 0;
    for (name, dashboard) in all() {
        for link in panels(&dashboard).flat_map(|panel| panel["links"].as_array().cloned().unwrap_or_default()) {
            let url = text(&link["url"]);
            let (_, path) = url.split_once("/blob/main/").expect("a file of the repository");
            assert!(crate::root().join(path).is_file(), "{name}: {url}");
            links += 1;
        }
    }
    assert!(links > 30, "{links}");
}
