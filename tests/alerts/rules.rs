//! The rules without a server: their form, their tests, their runbooks, and what the chart takes of them.

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::{files, succeed, text_of};

/// The values of a key, wherever it stands in the rule files.
fn values(key: &str) -> Vec<String> {
    let texts = files("grafana/alerts", ".yaml").into_iter().map(text_of);
    texts
        .flat_map(|text| {
            let prefix = format!("{key}: ");
            let lines = text
                .lines()
                .map(|line| line.trim().trim_start_matches("- ").to_owned())
                .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
            lines.collect::<Vec<_>>()
        })
        .collect()
}

fn alerts() -> BTreeSet<String> {
    let alerts = values("alert");
    let names: BTreeSet<String> = alerts.iter().cloned().collect();
    assert_eq!(names.len(), alerts.len(), "an alert of the same name twice");
    assert!(names.len() >= 12);
    names
}

#[test]
fn every_rule_is_well_formed() {
    succeed(
        Command::new("promtool")
            .args(["check", "rules"])
            .args(files("grafana/alerts", ".yaml")),
    );
}

/// The checks of a test: what is asked, and what follows.
fn checks(test: &str) -> impl Iterator<Item = (&str, &str)> {
    test.split("- expr: ")
        .skip(1)
        .filter_map(|check| check.split_once('\n'))
}

#[test]
fn each_alert_fires_and_stays_silent_as_its_tests_say() {
    for rules in files("grafana/alerts", ".yaml") {
        let shipped = text_of(&rules);
        let named = shipped.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        for alert in named {
            let test = text_of(format!("grafana/alerts/tests/{}", rules.file_name().unwrap().display()));
            let name = format!("alertname=\"{alert}\"");
            let fires = checks(&test).any(|(asked, told)| {
                told.contains(&name) || (asked.contains(&name) && !told.contains("exp_samples: []"))
            });
            assert!(fires, "no test fires {alert}");
            // A question about every alert asks about this one too.
            let silent = checks(&test).any(|(asked, told)| {
                let about = asked.contains(&name) || (asked.contains("ALERTS") && !asked.contains("alertname="));
                about && told.contains("exp_samples: []")
            });
            assert!(silent, "no test keeps {alert} silent");
        }
    }
    let tests = files("grafana/alerts/tests", ".yaml");
    succeed(Command::new("promtool").args(["test", "rules"]).args(tests));
}

/// Three days; the two weeks of every fleet are run by `grafana/alerts/tests/seasons` itself.
#[test]
fn days_with_seasons_noise_and_a_release_are_silent_and_each_anomaly_is_found_within_five_minutes() {
    let test = NamedTempFile::with_suffix(".yaml").unwrap();
    let mut generator = Command::new(crate::root().join("grafana/alerts/tests/seasons"));
    succeed(generator.arg("--write").arg(test.path()));
    succeed(Command::new("promtool").args(["test", "rules"]).arg(test.path()));
}

#[test]
fn each_alert_says_how_bad_it_is_and_leads_to_its_runbook() {
    let alerts = alerts();
    for key in ["summary", "description", "severity"] {
        let count = match key {
            "severity" => values("labels")
                .iter()
                .filter(|labels| labels.contains("severity: "))
                .count(),
            _ => values(key).len(),
        };
        assert_eq!(count, alerts.len(), "{key}");
    }
    let linked: BTreeSet<String> = values("runbook_url")
        .iter()
        .map(|url| {
            let (_, path) = url.split_once("/blob/main/").expect("a file of the repository");
            path.to_owned()
        })
        .collect();
    let expected = alerts.iter().map(|alert| format!("grafana/runbooks/{alert}.md"));
    assert_eq!(linked, expected.collect());
    let written: BTreeSet<String> = files("grafana/runbooks", ".md")
        .iter()
        .map(|path| format!("grafana/runbooks/{}", path.file_name().unwrap().display()))
        .collect();
    assert_eq!(linked, written, "a runbook an alert, and none besides");
    for runbook in written {
        let text = text_of(&runbook);
        for heading in [
            "## What it means",
            "## Who is affected",
            "## Confirm",
            "## Do",
            "## Do not",
        ] {
            assert!(text.contains(&format!("\n{heading}\n")), "{runbook}: no {heading}");
        }
    }
}

#[test]
fn the_page_lists_every_alert_and_its_severity() {
    let page = text_of("docs/observability.md");
    let severities = values("labels")
        .into_iter()
        .filter(|labels| labels.contains("severity: "));
    for (alert, labels) in values("alert").into_iter().zip(severities) {
        let severity = labels.trim_matches(['{', '}']).split(": ").nth(1).unwrap().to_owned();
        let row = format!("| [{alert}](../grafana/runbooks/{alert}.md) | {severity} |");
        assert!(page.contains(&row), "docs/observability.md lacks: {row}");
    }
}

#[test]
fn the_chart_has_these_dashboards_and_rules() {
    succeed(Command::new("grafana/package").arg("--check"));
}
