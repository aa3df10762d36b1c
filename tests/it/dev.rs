//! `cloakroom dev`: every line that it prints works when it is pasted.

use std::process::Output;

use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

const ANY_PORT: &str = "127.0.0.1:0";

async fn started(listen: &str, replicas: &str) -> (Program, Vec<String>) {
    let arguments = [
        "dev",
        "--listen",
        listen,
        "--admin-listen",
        ANY_PORT,
        "--replicas",
        replicas,
    ];
    let dev = Program::cloakroom(&arguments, &[]);
    let output = eventually(SOON, "the end of the banner", async || {
        let output = dev.output();
        output.iter().any(|line| line.starts_with("Ctrl-C")).then_some(output)
    })
    .await;
    (dev, output)
}

async fn shell(line: &str) -> Output {
    let mut command = tokio::process::Command::new("sh");
    let output = command.args(["-c", line]).kill_on_drop(true).output();
    tokio::time::timeout(SOON, output)
        .await
        .expect("an answer in time")
        .expect("a shell")
}

/// The status that a printed line is answered with, and the body.
async fn pasted(line: &str) -> (String, String) {
    let output = shell(&format!("{line} --max-time 3 -w '\\n%{{http_code}}'")).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

fn curl_lines(output: &[String]) -> Vec<String> {
    output
        .iter()
        .filter(|line| line.starts_with("curl "))
        .cloned()
        .collect()
}

fn line_with<'a>(lines: &'a [String], part: &str) -> &'a str {
    lines
        .iter()
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no line with {part}"))
}

#[tokio::test]
async fn every_printed_line_works_by_itself_in_any_order() {
    let (dev, output) = started(ANY_PORT, "3").await;
    let text = output.join("\n");
    assert!(text.contains("Not for production"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where no terminal is");
    let lines = curl_lines(&output);
    assert!(lines.len() >= 10, "{text}");
    let mut in_any_order: Vec<_> = lines.iter().collect();
    // The log-out comes last, for after it bob's session is rightly not found.
    in_any_order.sort_by_key(|line| line.contains("DELETE"));
    for line in in_any_order {
        let (status, body) = pasted(line).await;
        assert!(status.starts_with('2'), "{line}\n{status} {body}");
    }
    assert!(dev.stop(SOON).await.success());
}

#[tokio::test]
async fn what_one_replica_does_the_others_show() {
    let (dev, output) = started(ANY_PORT, "3").await;
    let lines = curl_lines(&output);
    let (_, changed) = pasted(line_with(&lines, "PATCH")).await;
    let (_, read) = pasted(
        lines
            .iter()
            .find(|line| line.starts_with("curl -s http") && line.contains("/v1/sessions/"))
            .unwrap(),
    )
    .await;
    assert!(
        changed.contains(r#""theme":"light""#) && read.contains(r#""theme":"light""#),
        "{read}"
    );
    let (_, revoked) = pasted(line_with(&lines, "DELETE")).await;
    assert_eq!(revoked, r#"{"revoked":2}"#);
    let bobs = lines
        .iter()
        .rfind(|line| line.starts_with("curl -s http") && line.contains("/v1/sessions/"))
        .unwrap();
    assert_eq!(pasted(bobs).await.0, "404");
    dev.interrupt();
    assert!(dev.wait_exit(SOON).await.success());
}

#[tokio::test]
async fn a_taken_port_is_told_and_the_next_block_used() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let (dev, output) = started(&address, "2").await;
    let text = output.join("\n");
    assert!(
        text.contains("the port is taken") && !text.contains(&format!("API http://{address}")),
        "{text}"
    );
    assert!(dev.stop(SOON).await.success());
}

#[tokio::test]
async fn the_commands_ask_a_running_service() {
    let (dev, output) = started(ANY_PORT, "1").await;
    let place = output.iter().find(|line| line.contains("API http")).unwrap();
    let urls: Vec<_> = place
        .split_whitespace()
        .filter(|word| word.starts_with("http"))
        .collect();
    let (api, admin) = (urls[0], urls[1]);
    let cloakroom = async |arguments: &str| {
        let output = shell(&format!("{} {arguments}", env!("CARGO_BIN_EXE_cloakroom"))).await;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    eventually(SOON, "readiness", async || {
        cloakroom(&format!("health --url {admin}")).await.0 == Some(0)
    })
    .await;
    let (_, sessions, _) = cloakroom(&format!("user sessions alice --url {api}")).await;
    let sessions: serde_json::Value = serde_json::from_str(&sessions).unwrap();
    let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    let (code, shown, _) = cloakroom(&format!("session show {id} --url {api}/")).await;
    assert!(code == Some(0) && shown.contains(r#""user_id":"alice""#), "{shown}");
    assert_eq!(
        cloakroom(&format!("session end {id} --url {api}")).await,
        (Some(0), String::new(), String::new())
    );
    let (code, nothing, error) = cloakroom(&format!("session show {id} --url {api}")).await;
    assert_eq!((code, nothing.as_str()), (Some(1), ""));
    assert!(
        error.contains("404") && error.contains("session_not_found") && error.lines().count() == 1,
        "{error}"
    );
    let (code, revoked, _) = cloakroom(&format!("user end bob --url {api}")).await;
    assert_eq!((code, revoked.trim()), (Some(0), r#"{"revoked":2}"#));

    assert!(dev.stop(SOON).await.success());
    let (code, _, error) = cloakroom(&format!("health --url {admin}")).await;
    assert!(
        code == Some(1) && error.to_lowercase().contains("connection refused"),
        "{error}"
    );
    let (code, _, error) = cloakroom("session show x --url localhost:8080").await;
    assert!(code == Some(1) && error.contains("no address of a service"), "{error}");
}
