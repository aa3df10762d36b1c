//! The chart, and the `helm` that renders it.
#![allow(
    dead_code,
    reason = "the tests without a cluster, those with one and those with an API server use different parts"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Names an executable `helm`; `tests/run` sets it.
const VARIABLE: &str = "CLOAKROOM_TEST_HELM";

/// The directory of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the chart.
pub(crate) fn chart() -> PathBuf {
    root().join("helm/cloakroom")
}

/// The executable, or `None` where this machine has none.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&directories).map(|directory| directory.join("helm"));
    named.map(PathBuf::from).or_else(|| found.find(|path| path.is_file()))
}

/// Values files of the chart whose names begin or end so: `values-*.yaml` for production, `ci/*-values.yaml` for tests.
pub(crate) fn values_files() -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
        is_yaml && (stem.ends_with("-values") || stem.starts_with("values-"))
    };
    let mut files: Vec<_> = [chart(), chart().join("ci")]
        .into_iter()
        .flat_map(|directory| std::fs::read_dir(directory).expect("a directory of the chart"))
        .map(|entry| entry.expect("an entry").path())
        .filter(is_one)
        .collect();
    files.sort();
    files
}

/// What the chart renders to.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) objects: Vec<Value>,
}

/// Renders the chart as release `cloakroom` in namespace `sessions`, or returns what helm says against it.
pub(crate) fn render(arguments: &[&str]) -> Result<Rendered, String> {
    render_by(&program().expect("helm"), arguments)
}

/// The same by this executable.
pub(crate) fn render_by(helm: &Path, arguments: &[&str]) -> Result<Rendered, String> {
    let chart = chart();
    let fixed = ["template", "cloakroom", "--namespace", "sessions"];
    let mut command = Command::new(helm);
    let output = command
        .args(fixed)
        .arg(chart)
        .args(arguments)
        .output()
        .expect("helm runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(Rendered::parse(&String::from_utf8_lossy(&output.stdout)))
}

impl Rendered {
    pub(crate) fn parse(text: &str) -> Self {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
        Self {
            objects: objects.into_iter().filter(|object| !object.is_null()).collect(),
        }
    }

    /// The objects of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The only object of a kind and name.
    pub(crate) fn object(&self, kind: &str, name: &str) -> &Value {
        let found: Vec<_> = self
            .of_kind(kind)
            .into_iter()
            .filter(|object| object["metadata"]["name"] == name)
            .collect();
        assert_eq!(found.len(), 1, "{kind} {name} among {:?}", self.names());
        found[0]
    }

    /// Kind and name of every object.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |object: &Value| {
            let part = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            format!("{} {}", part(&object["kind"]), part(&object["metadata"]["name"]))
        };
        self.objects.iter().map(name).collect()
    }

    /// The spec of every pod, or of the template of one, with the name of the object that has it.
    pub(crate) fn pods(&self) -> Vec<(String, &Value)> {
        let spec = |object: &'_ Value| match object["kind"].as_str()? {
            "Pod" => Some(object["spec"].clone()),
            "Deployment" | "StatefulSet" | "Job" => Some(object["spec"]["template"]["spec"].clone()),
            _ => None,
        };
        self.objects
            .iter()
            .zip(self.names())
            .filter(|(object, _)| spec(object).is_some())
            .map(|(object, name)| {
                let spec = if object["kind"] == "Pod" {
                    &object["spec"]
                } else {
                    &object["spec"]["template"]["spec"]
                };
                (name, spec)
            })
            .collect()
    }

    /// The settings file.
    pub(crate) fn settings(&self) -> &str {
        let configured = self.object("ConfigMap", "cloakroom");
        configured["data"]["cloakroom.toml"].as_str().expect("a settings file")
    }
}
