//! Webhooks of a real fleet: signed as the reference library verifies, repeated, resumed by the next leader.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::receiver::{Delivery, Receiver};
use crate::support::fleet::{Answer, Fleet, Replica};
use crate::support::listener::Listener;
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

pub(crate) const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_b2xkLWtleS1vbGQta2V5LW9sZC1rZXkt";
/// Names a directory with the npm package `standardwebhooks`; `tests/run` sets it.
const MODULES: &str = "CLOAKROOM_TEST_STANDARD_WEBHOOKS";

pub(crate) async fn fleet(receiver: &Receiver, more: &[(&str, &str)]) -> Fleet {
    let secrets = format!("{NEW},{OLD}");
    let settings = [
        ("webhooks.shop.url", receiver.url.as_str()),
        ("webhooks.shop.secrets", secrets.as_str()),
    ];
    let fleet = Fleet::start(shared_cluster().await, &[&settings[..], more].concat()).await;
    eventually(SOON, "a leader that delivers", async || leader(&fleet).is_some()).await;
    // The feed stands once a first event has come through.
    eventually(SOON, "a first delivery", async || {
        fleet.at(0).create(json!({})).await;
        !receiver.taken().is_empty()
    })
    .await;
    fleet
}

pub(crate) fn leader(fleet: &Fleet) -> Option<usize> {
    let delivers = |replica: &Replica| {
        let lines = replica.program.log();
        lines
            .iter()
            .any(|line| line["message"] == "events are delivered by this server")
    };
    fleet.replicas.iter().position(delivers)
}

pub(crate) fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// By the library that defines the standard.
pub(crate) fn verified(delivery: &Delivery, secret: &str) -> Option<bool> {
    let modules = std::env::var_os(MODULES)?;
    let script = format!(
        "const {{Webhook}} = require('{}'); const d = JSON.parse(require('fs').readFileSync(0)); \
         try {{ new Webhook(d.secret).verify(d.body, d.headers); }} catch (error) {{ console.error(error.message); process.exit(3); }}",
        std::path::Path::new(&modules).join("standardwebhooks").display()
    );
    let mut node = Command::new("node")
        .args(["-e", &script])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node");
    let told = json!({"secret": secret, "body": delivery.body, "headers": delivery.headers});
    node.stdin
        .take()
        .unwrap()
        .write_all(told.to_string().as_bytes())
        .unwrap();
    let done = node.wait_with_output().unwrap();
    match done.status.code() {
        Some(0) => Some(true),
        Some(3) => Some(false),
        _ => panic!("{}", String::from_utf8_lossy(&done.stderr)),
    }
}

#[tokio::test]
async fn deliveries_are_what_standard_webhooks_verifies_and_name_who_did_it() {
    let receiver = Receiver::start().await;
    let fleet = fleet(&receiver, &[]).await;
    let (path, token) = fleet.at(1).create(json!({"user_id": "alice"})).await;
    let id = id_of(&path);
    let created = receiver.delivery("created", id).await;
    assert_eq!(created.headers["content-type"], "application/json");
    assert!(created.json()["data"].get("actor").is_none());

    let mut listener = Listener::start(fleet.at(0), None).await;
    let answer = fleet.at(2).delete("/v1/users/alice/sessions").await.expect(200);
    assert_eq!(answer.json()["revoked"], 1);
    let revoked = receiver.delivery("revoked", id).await;
    let told = revoked.json();
    let data = &told["data"];
    assert_eq!(data["actor"], json!({"type": "application", "subject": "the-tests"}));
    assert_eq!(data["request_id"], answer.header("x-request-id"));
    assert_eq!((&data["user_id"], &data["reason"]), (&json!("alice"), &json!("user")));

    let streamed = listener.until("revoked", &path).await.pop().unwrap().data;
    assert_eq!(
        (&streamed["actor"], &streamed["request_id"]),
        (&data["actor"], &data["request_id"])
    );

    // The audit log has the same, and no token.
    let line = fleet.at(2).program.logged("audit").await;
    assert_eq!(
        (&line["target"], &line["action"]),
        (&json!("audit"), &json!("end_user_sessions"))
    );
    assert_eq!(
        (&line["subject"], &line["user_id"]),
        (&json!("the-tests"), &json!("alice"))
    );
    assert_eq!((&line["ended"], &line["outcome"]), (&json!(1), &json!("done")));
    assert_eq!(line["request_id"], answer.header("x-request-id"));
    for replica in &fleet.replicas {
        let output = replica.program.output().join("\n");
        assert!(!output.contains(&token) && !output.contains(replica.credential.trim_start_matches("Bearer ")));
    }

    who_rotates_moves_and_logs_out_is_named(&fleet, &receiver).await;

    for secret in [NEW, OLD] {
        for delivery in [&created, &revoked] {
            match verified(delivery, secret) {
                Some(valid) => assert!(valid, "{delivery:?}"),
                None => eprintln!("{MODULES} is not set: the reference library was not asked"),
            }
        }
    }
    let forged = Delivery {
        body: created.body.replace("alice", "mallory"),
        ..created.clone()
    };
    assert_ne!(verified(&forged, NEW), Some(true));
    assert_ne!(
        verified(&created, "whsec_c29tZWJvZHkgZWxzZSdzIGtleSwgbm90IG91cnM="),
        Some(true)
    );
}

async fn who_rotates_moves_and_logs_out_is_named(fleet: &Fleet, receiver: &Receiver) {
    fleet.know_each_other().await;
    let application = json!({"type": "application", "subject": "the-tests"});
    let (path, _) = fleet.at(0).create(json!({"user_id": "bob"})).await;
    let rotated = fleet
        .at(0)
        .call("POST", &format!("{path}/rotate"), json!({}))
        .await
        .expect(201);
    let (path, token) = rotated.issued();
    let told = receiver.delivery("rotated", id_of(&path)).await;
    assert_eq!(told.json()["data"]["actor"], application);

    let moved = json!({"server_id": fleet.at(1).id});
    fleet
        .at(2)
        .call("POST", &format!("{path}/migrate"), moved)
        .await
        .expect(200);
    let told = receiver.delivery("migrated", id_of(&path)).await;
    assert_eq!(told.json()["data"]["actor"], application);

    let leaving = fleet
        .at(1)
        .request("DELETE", "/session")
        .header("cookie", format!("__Host-cloakroom={token}"))
        .header("sec-fetch-site", "same-origin");
    let left = Answer::of(leaving).await.unwrap().expect(204);
    let told = receiver.delivery("destroyed", id_of(&path)).await;
    assert_eq!(told.json()["data"]["actor"], json!({"type": "visitor"}));
    assert_eq!(told.json()["data"]["request_id"], left.header("x-request-id"));
}

#[tokio::test]
async fn what_a_dead_endpoint_missed_comes_when_it_is_back_and_the_next_leader_goes_on() {
    let receiver = Receiver::start().await;
    let fleet = fleet(&receiver, &[("webhooks.shop.kinds", "created,destroyed")]).await;
    let disabled = async |replica: &Replica| {
        let url = format!("http://{}/metrics", replica.admin);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        text.lines()
            .any(|line| line == "cloakroom_webhook_disabled{webhook=\"shop\"} 1")
    };
    let first = leader(&fleet).unwrap();

    // Refused, then taken, under the same id.
    receiver.answer(500);
    let before = receiver.refusals().len();
    let (path, _) = fleet.at(first).create(json!({})).await;
    fleet.at(first).delete(&path).await.expect(204);
    eventually(SOON, "a second try", async || receiver.refusals().len() >= before + 2).await;
    receiver.answer(204);
    let delivered = receiver.delivery("created", id_of(&path)).await;
    let refusals = receiver.refusals();
    let tried = refusals
        .iter()
        .find(|refused| refused.is("session.created", id_of(&path)))
        .unwrap();
    assert_eq!(tried.headers["webhook-id"], delivered.headers["webhook-id"]);
    assert!(!disabled(fleet.at(first)).await);
    // What follows in the same session waits for its turn.
    receiver.delivery("destroyed", id_of(&path)).await;
    assert!(
        !refusals
            .iter()
            .any(|refused| refused.is("session.destroyed", id_of(&path)))
    );

    // While it is away, more happens than is kept in flight; then its leader leaves.
    receiver.answer(503);
    let mut made = Vec::new();
    for number in 0..30 {
        made.push(fleet.at(number).create(json!({})).await.0);
    }
    fleet.at(first).program.terminate();
    assert_eq!(fleet.at(first).program.wait_exit(SOON).await.code(), Some(0));
    receiver.answer(204);
    for path in &made {
        receiver.delivery("created", id_of(path)).await;
    }
    // What it does not want never came.
    let kinds = receiver
        .taken()
        .into_iter()
        .map(|delivery| delivery.json()["type"].clone());
    assert!(
        kinds
            .into_iter()
            .all(|kind| kind == "session.created" || kind == "session.destroyed")
    );

    // Gone: disabled at once.
    receiver.answer(410);
    let other = fleet.at(first + 1);
    other.create(json!({})).await;
    let rest: Vec<&Replica> = (0..3)
        .filter(|index| *index != first)
        .map(|index| fleet.at(index))
        .collect();
    eventually(SOON, "an endpoint that is disabled", async || {
        disabled(rest[0]).await || disabled(rest[1]).await
    })
    .await;
}

#[tokio::test]
async fn settings_that_would_tell_events_to_strangers_are_refused() {
    for (settings, refusal) in [
        (
            vec![("webhooks.a.url", "http://example.com/")],
            "webhooks.a.url: \"http://example.com/\" would tell",
        ),
        (
            vec![("webhooks.a.url", "https://u:p@example.com/")],
            "without credentials",
        ),
        (
            vec![("webhooks.a.url", "https://example.com/")],
            "webhooks.a.secrets: must be given",
        ),
        (
            vec![
                ("webhooks.a.url", "https://example.com/"),
                ("webhooks.a.secrets", "hunter2hunter2"),
            ],
            "is not `whsec_` and 24 to 64 bytes in base64",
        ),
        (
            vec![("webhooks.a.url", "https://10.0.0.1/"), ("webhooks.a.secrets", NEW)],
            "a private address needs allow_insecure",
        ),
        (
            vec![
                ("webhooks.a.url", "https://example.com/"),
                ("webhooks.a.secrets", NEW),
                ("webhooks.a.kinds", "made"),
            ],
            "\"made\" is not one of created, changed",
        ),
        (vec![("webhooks.A.url", "https://example.com/")], "is not a name"),
    ] {
        let mut arguments = vec!["serve".to_owned(), "--listen".to_owned(), "127.0.0.1:0".to_owned()];
        for (key, value) in settings {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = crate::support::process::Program::cloakroom(&arguments, &[]);
        assert_eq!(program.wait_exit(SOON).await.code(), Some(1));
        let output = program.output().join("\n");
        assert!(output.contains(refusal) && !output.contains("hunter2"), "{output}");
    }
}
