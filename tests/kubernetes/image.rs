//! The image, as the Dockerfile builds it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::helm;

const BASE: &str = "localhost/cloakroom-test/runtime";

/// "Our own layers at most 35 MB."
const MOST_BYTES: u64 = 35_000_000;

/// The image of the chart, or `None` where it was not built here, and by the Dockerfile.
fn built() -> Option<String> {
    let built_here = Command::new("buildah")
        .args(["inspect", "--type", "image", BASE])
        .output();
    let by_dockerfile = std::env::var_os("CLOAKROOM_TEST_PROGRAM").is_none();
    if !(by_dockerfile && built_here.is_ok_and(|output| output.status.success())) {
        eprintln!("the image was not built here by the Dockerfile: its tests are passed over");
        return None;
    }
    let text = std::fs::read_to_string(helm::chart().join("Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    let images: Value =
        serde_saphyr::from_str(chart["annotations"]["artifacthub.io/images"].as_str().unwrap()).unwrap();
    Some(images[0]["image"].as_str().unwrap().to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    output.stdout
}

/// Digest and size of each layer of an image, written to a directory.
fn layers(image: &str, directory: &Path) -> Vec<(String, u64)> {
    run(
        "buildah",
        &["push", "--quiet", image, &format!("dir:{}", directory.display())],
    );
    let manifest = std::fs::read(directory.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = |layer: &Value| {
        let digest = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
        (digest.to_owned(), layer["size"].as_u64().unwrap())
    };
    manifest["layers"].as_array().unwrap().iter().map(layer).collect()
}

#[test]
fn our_layers_are_small_and_hold_a_program_that_lists_its_crates() {
    let Some(image) = built() else { return };
    let (base, whole) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let of_the_base = layers(BASE, base.path());
    let mut ours = layers(&image, whole.path());
    ours.retain(|layer| !of_the_base.contains(layer));
    let bytes: u64 = ours.iter().map(|(_, size)| size).sum();
    eprintln!("our layers: {bytes} bytes");
    assert!(!ours.is_empty() && bytes <= MOST_BYTES, "{ours:?}");
    let files = TempDir::new().unwrap();
    for (digest, _) in &ours {
        let layer = whole.path().join(digest);
        run(
            "tar",
            &["-xf", layer.to_str().unwrap(), "-C", files.path().to_str().unwrap()],
        );
    }
    let program = std::fs::read(files.path().join("usr/local/bin/cloakroom")).unwrap();
    let listed = program.windows(8).any(|window| window == b".dep-v0\0");
    assert!(listed, "built without cargo auditable");
    assert!(files.path().join("usr/share/doc/cloakroom/LICENSE-MIT").is_file());
}

#[test]
fn the_image_says_what_it_is_and_how_to_look_after_it() {
    let Some(image) = built() else { return };
    let text = run("buildah", &["inspect", "--type", "image", &image]);
    let inspected: Value = serde_json::from_slice(&text).unwrap();
    let config = &inspected["Docker"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/cloakroom"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    assert_eq!(
        config["Healthcheck"]["Test"],
        json!(["CMD", "/usr/local/bin/cloakroom", "health"])
    );
    for label in ["title", "description", "licenses", "version", "revision", "created"] {
        let label = format!("org.opencontainers.image.{label}");
        assert!(config["Labels"][&label].is_string(), "{label}");
    }
    assert_eq!(
        config["Labels"]["org.opencontainers.image.version"],
        env!("CARGO_PKG_VERSION")
    );
}
