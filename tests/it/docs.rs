//! The pages: their links lead somewhere, their tables are those of the program, and their examples run.

mod acl;
mod examples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cloakroom::config::{Config, Sources};

const ANY_PORT: &str = "127.0.0.1:0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page at the top and in `docs/`, by its path.
fn pages() -> BTreeMap<PathBuf, String> {
    let in_directory = |directory: &str| {
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let paths = [in_directory("."), in_directory("docs")].concat();
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages = paths.into_iter().filter(is_page);
    pages
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The lines outside of fenced blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The contents of the fenced blocks of a language below a heading, down to the next heading of its level.
fn blocks(page: &str, heading: &str, language: &str) -> Vec<String> {
    let level = heading.split(' ').next().unwrap();
    let begin = page
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"))
        + 1;
    let section = &page[begin + heading.len()..];
    let end = section.find(&format!("\n{level} ")).unwrap_or(section.len());
    let opening = format!("```{language}\n");
    let parts = section[..end].split(&opening).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// The cells of every table row that begins with something in backticks.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = prose(page).filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

/// A heading's anchor, as GitHub and GitLab make it.
fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut links = 0;
    for (path, text) in &pages {
        for target in prose(text).flat_map(|line| line.split("](").skip(1)) {
            let target = target.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let at = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let shown = path.display();
            let at = at
                .canonicalize()
                .unwrap_or_else(|_| panic!("{shown}: {target} is not there"));
            if !fragment.is_empty() {
                let text = std::fs::read_to_string(at).unwrap();
                assert!(anchors(&text).contains(fragment), "{shown}: {target}: no such heading");
            }
        }
    }
    assert!(pages.len() >= 10 && links > 40, "{} pages, {links} links", pages.len());
}

#[test]
fn every_file_that_a_page_names_is_there() {
    for (path, text) in pages() {
        for named in prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let is_path = ["src/", "tests/", "docs/"].iter().any(|top| named.starts_with(top));
            if is_path && !named.contains(' ') {
                assert!(root().join(named).exists(), "{}: {named} is not there", path.display());
            }
        }
    }
}

/// Every setting and its default, as `config print` shows them.
fn settings() -> BTreeMap<String, String> {
    let rows = Config::load(&Sources::default()).unwrap().rows;
    let shown = |key: &str, value: Option<toml::Value>| match value {
        _ if key == "server_id" => "the host name".to_owned(),
        None => "none".to_owned(),
        Some(toml::Value::Array(list)) if list.is_empty() => "none".to_owned(),
        Some(toml::Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    rows.into_iter()
        .map(|row| {
            let value = shown(&row.key, row.value);
            (row.key, value)
        })
        .collect()
}

#[test]
fn the_page_of_settings_is_complete_and_right() {
    let page = rows(&text_of("docs/settings.md"));
    let told: BTreeMap<_, _> = page.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(told, settings());
}

#[test]
fn the_readme_names_settings_that_are_there_with_their_defaults() {
    let settings = settings();
    let is_key = |name: &str| name.contains('.') && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
    let rows = rows(&text_of("README.md"))
        .into_iter()
        .filter(|row| is_key(&row[0]))
        .collect::<Vec<_>>();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        assert_eq!(settings.get(&row[0]), Some(&row[1]), "{}", row[0]);
    }
}

#[test]
fn the_page_of_the_api_has_every_call_and_its_scope() {
    let description = serde_json::to_value(cloakroom::http::openapi()).unwrap();
    let mut calls = BTreeMap::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let scope = operation["security"][0]["bearer"][0].as_str().unwrap_or_default();
            let scope = scope.trim_start_matches("sessions:").to_owned();
            calls.insert(format!("{} {path}", method.to_uppercase()), scope);
        }
    }
    let is_call = |row: &Vec<String>| {
        ["GET ", "POST ", "PUT ", "PATCH ", "DELETE "]
            .iter()
            .any(|method| row[0].starts_with(method))
    };
    let page = rows(&text_of("docs/http.md")).into_iter().filter(is_call);
    let told: BTreeMap<_, _> = page.map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(told, calls);
}

#[test]
fn the_page_of_coherence_has_every_rule_left_out() {
    let source = text_of("src/coherence/simulation/tests.rs");
    let (_, list) = source.split_once("\ncaught! {").expect("the list of mutants");
    let lines = list
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    let tests: BTreeMap<_, _> = lines
        .map(|(test, mutant)| (mutant.to_owned(), test.to_owned()))
        .collect();
    let page = text_of("docs/coherence.md");
    let cells = prose(&page).map(|line| {
        line.split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect::<Vec<_>>()
    });
    let told: BTreeMap<_, _> = cells
        .filter(|row| row.len() == 6 && row[4].ends_with("_is_caught"))
        .map(|row| (row[3].clone(), row[4].clone()))
        .collect();
    assert_eq!(told, tests);
    let mutants = text_of("src/coherence/mutant.rs");
    for mutant in told.keys() {
        assert!(mutants.contains(&format!("    {mutant},\n")), "{mutant}");
    }
    assert_eq!(mutants.matches("        Self::").count(), told.len());
}
