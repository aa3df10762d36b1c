//! The page of requirements against the tests: each number, each test, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/security-requirements.md";
/// With this variable set, the page's last column is written anew.
const WRITE: &str = "CLOAKROOM_WRITE";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The numbers with which a name begins, such as S06 and S32 of `s06_s32_…`.
fn numbers(name: &str) -> Vec<String> {
    let is_number = |part: &&str| {
        part.len() == 3 && part.starts_with(['s', 'r']) && part[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    name.split('_').take_while(is_number).map(str::to_uppercase).collect()
}

/// Every function whose name begins with a number, by number. The cases that several stores run are functions too.
fn tests_by_number() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    for top in ["src", "tests"] {
        sources(&root().join(top), &mut files);
    }
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for name in text
            .split("fn ")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('(')?.0))
        {
            for number in numbers(name) {
                found.entry(number).or_default().insert(name.to_owned());
            }
        }
    }
    found
}

/// The rows of the page: number, what it demands, tests.
fn told() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = text_of(PAGE);
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| S") || line.starts_with("| R"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, demand, tests] = cells.as_slice() else {
            panic!("{PAGE}: three cells are wanted: {row}");
        };
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        ((*number).to_owned(), ((*demand).to_owned(), tests))
    })
    .collect()
}

/// The page with the tests that there are.
fn rewritten(tests: &BTreeMap<String, BTreeSet<String>>) -> String {
    let page = text_of(PAGE);
    let lines = page.lines().map(|line| {
        let mut cells = line.splitn(4, '|').skip(1).map(str::trim);
        let (Some(number), Some(demand)) = (cells.next(), cells.next()) else {
            return line.to_owned();
        };
        match tests.get(number) {
            Some(tests) => {
                let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
                format!("| {number} | {demand} | {} |", tests.join(", "))
            }
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn every_number() -> impl Iterator<Item = String> {
    let requirements = (1..=56).map(|number| format!("S{number:02}"));
    requirements.chain((1..=12).map(|number| format!("R{number:02}")))
}

#[test]
fn every_requirement_has_its_tests_and_every_test_its_requirement() {
    let tests = tests_by_number();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(root().join(PAGE), rewritten(&tests)).unwrap();
    }
    let told = told();
    let expected: BTreeSet<_> = every_number().collect();
    assert_eq!(
        told.keys().cloned().collect::<BTreeSet<_>>(),
        expected,
        "the rows of {PAGE}"
    );
    let policy = text_of("SECURITY.md");
    let mut wrong = Vec::new();
    for (number, (demand, named)) in &told {
        assert!(demand.len() > 10, "{PAGE}: {number} says nothing");
        let there = tests.get(number).cloned().unwrap_or_default();
        if there.is_empty() && !policy.contains(&format!("| {number} ")) {
            wrong.push(format!("{number} has no test, and SECURITY.md does not say why"));
        }
        wrong.extend(
            there
                .difference(named)
                .map(|test| format!("{number} lacks `{test}` on the page")),
        );
        wrong.extend(
            named
                .difference(&there)
                .map(|test| format!("{number} names `{test}`, which is no test of it")),
        );
    }
    let unknown = tests.keys().filter(|number| !expected.contains(*number));
    wrong.extend(unknown.map(|number| format!("{number} is no requirement: {:?}", tests[number])));
    assert!(
        wrong.is_empty(),
        "{PAGE} ({WRITE}=1 cargo test --test security requirement writes its last column):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn names_tell_their_numbers() {
    assert_eq!(numbers("s06_s32_what_is_odd"), ["S06", "S32"]);
    assert_eq!(numbers("s18_s31"), ["S18", "S31"]);
    assert_eq!(numbers("r04_s20_dropped"), ["R04", "S20"]);
    assert!(numbers("set_s06").is_empty() && numbers("s6_x").is_empty() && numbers("p10_x").is_empty());
}
