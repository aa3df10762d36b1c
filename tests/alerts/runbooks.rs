//! What the runbooks tell people to type: each question to Prometheus, each command for a shell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::live::{ALERTED, missing_of, selectors_of};
use crate::monitoring::Monitoring;
use crate::support::fleet::Fleet;
use crate::support::redis_cluster::{RedisCluster, shared_cluster};
use crate::support::wait::eventually;
use crate::{files, root, text_of};

/// How long a command may run that goes on until it is interrupted, in seconds.
const PATIENCE: &str = "8";
/// Shown by the kubelet.
const FOREIGN: &str = "container_cpu_cfs_throttled_periods_total";

/// The lines of the fenced blocks of a language, each with the runbooks that have it.
fn lines(language: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files("grafana/runbooks", ".md") {
        let name = path.file_stem().unwrap().display().to_string();
        let mut inside = None;
        for line in text_of(&path).lines() {
            match (line.strip_prefix("```"), &inside) {
                (Some(_), Some(_)) => inside = None,
                (Some(begun), None) => inside = Some(begun.to_owned()),
                (None, Some(begun)) if begun == language && !line.trim().is_empty() => {
                    found.entry(line.to_owned()).or_default().push(name.clone());
                }
                _ => {}
            }
        }
        assert!(inside.is_none(), "{name}: a block without an end");
    }
    found
}

/// Questions whose answer is nothing while all is well.
fn asks_for_trouble(query: &str) -> bool {
    [" > 0", " == 0", " == 1"].iter().any(|end| query.ends_with(end))
}

/// Every question of a runbook is understood, has data on a fleet that is used, and asks for series that there are.
pub(crate) async fn every_question_has_an_answer(monitoring: &Monitoring) {
    let questions = lines("promql");
    assert!(questions.len() > 60, "{}", questions.len());
    let mut selectors = BTreeSet::new();
    for (question, runbooks) in &questions {
        if question.contains(FOREIGN) {
            continue;
        }
        let answered = async || !monitoring.query(question).await.is_empty();
        if asks_for_trouble(question) {
            answered().await;
        } else {
            let what = format!("an answer to {question} of {}", runbooks.join(", "));
            eventually(ALERTED, &what, answered).await;
        }
        selectors.extend(selectors_of(question));
    }
    let missing = missing_of(monitoring, &selectors).await;
    assert!(missing.is_empty(), "runbooks ask for what no server shows: {missing:?}");
}

/// A line for a shell, with what a person would have set before.
fn shell(line: &str, environment: &[(&str, String)]) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_cloakroom")).parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    // What names the tools of the tests is no setting, and the program says so.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLOAKROOM_TEST_")) {
        command.env_remove(name);
    }
    command
        .args([PATIENCE, "bash", "-o", "pipefail", "-c", line])
        .env("PATH", path)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(root())
        .output()
        .unwrap()
}

/// What a person at a shell of this fleet would have set.
async fn surroundings(fleet: &Fleet, cluster: &RedisCluster) -> Vec<(&'static str, String)> {
    let replica = fleet.at(0);
    replica.create(json!({"user_id": "alice"})).await;
    let setting = |name: &str| {
        let key = format!("{name}=");
        let found = replica
            .arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(&key));
        found.unwrap().to_owned()
    };
    vec![
        ("REDIS_URL", cluster.urls()[0].clone()),
        ("CLOAKROOM_URL", format!("http://{}", replica.traffic)),
        (
            "CLOAKROOM_TOKEN",
            replica.credential.trim_start_matches("Bearer ").to_owned(),
        ),
        ("PROTECTED_URL", format!("http://{}/auth", replica.traffic)),
        ("USER_ID", "alice".to_owned()),
        ("CLOAKROOM_JWT__SECRET", setting("jwt.secret")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_for_redis_and_for_cloakroom_works() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let environment = surroundings(&fleet, cluster).await;
    let commands = lines("sh");
    let mut tried = 0;
    for (line, runbooks) in commands.iter().filter(|(line, _)| !line.starts_with("kubectl ")) {
        let output = shell(line, &environment);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let told = format!("{}: {line}\n{:?}\n{out}\n{err}", runbooks.join(", "), output.status);
        assert!(
            err.is_empty() && !out.contains("ERR ") && !out.contains("\"status\":4"),
            "{told}"
        );
        // A stream ends by its time limit (curl's 28), a watch by ours (124); `grep` finds nothing where nothing is amiss.
        let expected: &[i32] = match line.as_str() {
            _ if line.contains("--max-time") => &[1, 28, 124],
            _ if line.contains("--latency-history") => &[124],
            _ => &[0],
        };
        assert!(
            output.status.code().is_some_and(|code| expected.contains(&code)),
            "{told}"
        );
        let may_be_silent = ["grep", "/v1/events", "latency", "slowlog"]
            .iter()
            .any(|part| line.contains(part));
        assert!(may_be_silent || !out.trim().is_empty(), "{told}");
        tried += 1;
    }
    assert!(tried >= 14, "{tried}");
    let asked = shell(
        "curl -s -o /dev/null -w '%{http_code}' \"$PROTECTED_URL\"",
        &environment,
    );
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "401");
}

/// By a real kubectl that understands the command, and then finds nobody to ask.
#[test]
fn every_command_for_kubernetes_is_understood_and_names_what_the_chart_makes() {
    let environment = [
        ("NAMESPACE", "shop".to_owned()),
        ("POD", "cloakroom-0".to_owned()),
        ("KUBECONFIG", "/dev/null".to_owned()),
    ];
    let made: String = files("k8s", ".yaml").into_iter().map(text_of).collect();
    let commands = lines("sh");
    let asked: Vec<_> = commands.keys().filter(|line| line.starts_with("kubectl ")).collect();
    assert!(asked.len() >= 5, "{asked:?}");
    for line in asked {
        let alone = line
            .split(" | ")
            .next()
            .unwrap()
            .replacen("kubectl ", "kubectl -s http://127.0.0.1:1 ", 1);
        let output = shell(&alone, &environment);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("refused") && !err.contains("unknown"), "{line}\n{err}");
        if let Some((_, rest)) = line.split_once(" -l ") {
            let (label, value) = rest.split(' ').next().unwrap().split_once('=').unwrap();
            assert!(
                made.contains(&format!("{label}: {value}\n")),
                "{line}: the chart sets no such label"
            );
        }
    }
}
