//! The examples on the pages, run as a reader would.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;

use super::{ANY_PORT, blocks, text_of};
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// The addresses of the API of a fleet that `dev` started.
async fn dev() -> (Program, Vec<String>) {
    let dev = Program::cloakroom(&["dev", "--listen", ANY_PORT, "--admin-listen", ANY_PORT], &[]);
    let output = eventually(SOON, "the end of the banner", async || {
        let output = dev.output();
        output.iter().any(|line| line.starts_with("Ctrl-C")).then_some(output)
    })
    .await;
    let address = |line: &String| line.split_once("API ")?.1.split(' ').next().map(str::to_owned);
    let addresses: Vec<_> = output.iter().filter_map(address).collect();
    assert_eq!(addresses.len(), 3, "{output:?}");
    (dev, addresses)
}

/// Feeds a script to an interpreter, which must succeed; nothing where this machine has none.
async fn run(command: &[&str], script: &str, url: &str) -> Option<String> {
    let mut child = tokio::process::Command::new(command[0])
        .args(&command[1..])
        .env("CLOAKROOM_URL", url)
        .env_remove("CLOAKROOM_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(SOON, child.wait_with_output())
        .await
        .expect("an end in time")
        .unwrap();
    let Output { status, stdout, stderr } = output;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(
        status.success(),
        "{command:?}: {status}\n{text}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    Some(text)
}

#[tokio::test]
async fn the_readmes_tour_works() {
    let (dev, addresses) = dev().await;
    let mut script = blocks(&text_of("README.md"), "## A two-minute tour", "sh").join("\n");
    for (port, address) in (8080..).zip(&addresses) {
        script = script.replace(&format!("http://127.0.0.1:{port}"), address);
    }
    let output = run(&["bash", "-eu"], &script, "").await.expect("bash");
    assert!(
        output.contains(r#"{"valid":true"#) && output.contains(r#""theme":"light""#),
        "{output}"
    );
    assert!(
        output.contains(r#"{"value":2}"#) && output.contains("x-auth-user: dana"),
        "{output}"
    );
    assert!(output.contains(r#"{"revoked":1}404"#), "{output}");
    assert!(
        output.contains("event: created") && output.contains("event: revoked"),
        "{output}"
    );
    assert!(dev.stop(SOON).await.success());
}

#[tokio::test]
async fn the_examples_of_the_api_work() {
    let (dev, addresses) = dev().await;
    let page = text_of("docs/http.md");
    let url = &addresses[0];
    let example = |heading: &str, language: &str| blocks(&page, heading, language).join("\n");
    let shell = run(&["bash", "-eu"], &example("### curl", "sh"), url)
        .await
        .expect("bash");
    assert!(
        shell.contains(r#"["a",1.0]"#) && shell.ends_with(r#"{"revoked":0}"#),
        "{shell}"
    );
    match run(&["node", "--input-type=module", "-"], &example("### Node", "js"), url).await {
        Some(output) => assert!(
            output.contains("hello bob") && output.contains("views 1") && output.ends_with("session_not_found\n"),
            "{output}"
        ),
        None => println!("no node on this machine: its example is passed over"),
    }
    let has_requests = std::process::Command::new("python3")
        .args(["-c", "import requests"])
        .output();
    if has_requests.is_ok_and(|output| output.status.success()) {
        let output = run(&["python3", "-"], &example("### Python", "python"), url)
            .await
            .expect("python3");
        assert_eq!(output, "{'theme': 'light'}\n{'revoked': 1}\n");
    } else {
        println!("no requests for python3 on this machine: its example is passed over");
    }
    assert!(dev.stop(SOON).await.success());
}
