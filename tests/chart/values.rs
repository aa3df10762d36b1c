//! The values: what is there is described, what is not is refused.

use std::process::Command;

use serde_json::Value;

use crate::{BUNDLED, has_helm, helm};

#[test]
fn every_values_file_passes_the_strict_linter() {
    if !has_helm() {
        return;
    }
    for file in helm::values_files() {
        let mut linter = Command::new(helm::program().unwrap());
        linter
            .args(["lint", "--strict", "--values"])
            .arg(&file)
            .arg(helm::chart());
        let output = linter.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
}

/// Every object of the schema that lists its properties, by the dotted path of the value.
fn closed_objects(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    found.push((path.to_owned(), schema.clone()));
    for (name, property) in properties {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        closed_objects(property, &below, found);
    }
}

fn schema() -> Value {
    let text = std::fs::read_to_string(helm::chart().join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn defaults() -> Value {
    let text = std::fs::read_to_string(helm::chart().join("values.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let defaults = defaults();
    let mut objects = Vec::new();
    closed_objects(&schema(), "", &mut objects);
    assert!(objects.len() > 30, "{}", objects.len());
    for (path, object) in objects {
        assert_eq!(object["additionalProperties"], false, "{path} takes anything");
        let value = path
            .split('.')
            .filter(|part| !part.is_empty())
            .fold(&defaults, |value, part| &value[part]);
        let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        let Some(mut present) = keys(value) else {
            panic!("{path} is in the schema and not among the values")
        };
        // A parent chart hands it down.
        if path.is_empty() {
            present.push("global".to_owned());
            present.sort();
        }
        assert_eq!(keys(&object["properties"]), Some(present), "{path}");
    }
}

#[test]
fn a_value_that_is_not_there_is_refused_wherever_it_is_written() {
    if !has_helm() {
        return;
    }
    let mut objects = Vec::new();
    closed_objects(&schema(), "", &mut objects);
    for (path, _) in objects {
        let typed = format!("{path}.replicaCuont=3").trim_start_matches('.').to_owned();
        let refusal = helm::render(&[BUNDLED, &["--set", &typed]].concat()).expect_err(&typed);
        assert!(refusal.contains("replicaCuont"), "{typed}: {refusal}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    if !has_helm() {
        return;
    }
    for typed in [
        "replicaCount=three",
        "image.digest=latest",
        "image.pullPolicy=Sometimes",
        "redis.urls={redis-0:6379}",
        "redis.bundled.engine=memcached",
        "serviceAccounts[0].namespace=shop",
        "serviceAccounts[0].namespace=shop,serviceAccounts[0].name=web,serviceAccounts[0].scopes={everything}",
        "settingsFromSecrets[0].setting=token.keys,settingsFromSecrets[0].secret=a,settingsFromSecrets[0].key=b",
        "ingress.cookieAffinity=yes",
        "podDisruptionBudget.minAvailable=half",
        "metrics.serviceMonitor.interval=often",
        "terminationGracePeriodSeconds=0",
    ] {
        assert!(
            helm::render(&[BUNDLED, &["--set", typed]].concat()).is_err(),
            "{typed} is taken"
        );
    }
}

#[test]
fn the_chart_is_of_the_version_of_the_program_and_names_the_images_that_it_runs() {
    let text = std::fs::read_to_string(helm::chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    if !has_helm() {
        return;
    }
    let annotated: Value =
        serde_saphyr::from_str(chart["annotations"]["artifacthub.io/images"].as_str().unwrap()).unwrap();
    let annotated: Vec<_> = annotated
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"].clone())
        .collect();
    let mut used = Vec::new();
    for engine in ["redis", "valkey"] {
        let engine = format!("redis.bundled.engine={engine}");
        let rendered = crate::bundled(&["--set", &engine]);
        let pods = rendered.pods();
        let images = pods.iter().map(|(_, pod)| pod["containers"][0]["image"].clone());
        used.extend(images.filter(|image| !used.contains(image)).collect::<Vec<_>>());
    }
    for image in &used {
        assert!(annotated.contains(image), "{image} is not annotated: {annotated:?}");
    }
    assert_eq!(
        annotated.len(),
        used.iter().collect::<std::collections::HashSet<_>>().len()
    );
}
