//! S20 to S30: the end of sessions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::api::{Answer, Api, Setup, path_of};
use crate::support::fleet::{self, Fleet, Replica};
use crate::support::listener::Listener;
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};
use crate::{BOUND, cookie, unknown_token};
use cloakroom::http::HttpSettings;
use cloakroom::session::Token;
use cloakroom::web::{CookieSecrets, CookieSettings};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Logs a browser out at a replica.
async fn log_out(replica: &Replica, token: &str) -> fleet::Answer {
    let request = replica
        .request("DELETE", "/session")
        .header("cookie", cookie(token))
        .header(SAME_ORIGIN.0, SAME_ORIGIN.1);
    fleet::Answer::of(request).await.unwrap()
}

/// The first answer that is no 503: on a busy machine the store may be late, and then asks to be asked again.
async fn when_known(ask: impl AsyncFn() -> fleet::Answer) -> fleet::Answer {
    eventually(SOON, "an answer in time", async || {
        let answer = ask().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// How long after the answer to a log-out every replica refuses, measured at each.
#[tokio::test]
async fn s20_a_log_out_is_dead_on_every_replica_within_the_bound() {
    const SESSIONS: usize = 100;
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let mut delays = Vec::new();
    for number in 0..SESSIONS {
        let (_, token) = fleet
            .at(number)
            .create(json!({"user_id": format!("user-{number}")}))
            .await;
        // Twice: the second answer is from memory.
        for replica in fleet.replicas.iter().chain(&fleet.replicas) {
            replica.as_browser("/auth", &token).await.expect(200);
        }
        log_out(fleet.at(number), &token).await.expect(204);
        let ended = Instant::now();
        for replica in &fleet.replicas {
            loop {
                let sent = ended.elapsed();
                let answer = replica.as_browser("/auth", &token).await;
                if answer.status == 401 {
                    delays.push(ended.elapsed());
                    break;
                }
                answer.expect(200);
                assert!(sent <= BOUND, "{}: alive {sent:?} after its end", replica.id);
            }
        }
    }
    delays.sort();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    eprintln!(
        "a log-out is seen by the last of three replicas, asked one after the other: median {:?}, p99 {:?}, most {:?}",
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(fleet.finish(cluster).await.sessions, 0);
}

#[tokio::test]
async fn s23_s24_disabling_a_user_ends_all_and_both_kinds_of_end_are_told() {
    const SESSIONS: usize = 12;
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let mut listener = Listener::start(fleet.at(0), None).await;
    let made = fleet
        .crowd(SESSIONS, async |replica, _| {
            replica.create(json!({"user_id": "mallory"})).await
        })
        .await;
    let (others_path, others) = fleet.at(0).create(json!({"user_id": "mallory2"})).await;
    for (_, token) in &made {
        for replica in &fleet.replicas {
            replica.as_browser("/auth", token).await.expect(200);
        }
    }
    // One by its id.
    let (one_path, one) = &made[0];
    fleet.at(1).delete(one_path).await.expect(204);
    fleet
        .all_show("one end", async |replica| {
            replica.as_browser("/auth", one).await.status == 401
        })
        .await;
    let told = listener.until("destroyed", one_path).await;
    let told = &told.last().unwrap().data;
    assert_eq!(
        (&told["user_id"], &told["reason"]),
        (&json!("mallory"), &json!("logout"))
    );
    // Then all that are left.
    let revoked = fleet
        .at(2)
        .delete("/v1/users/mallory/sessions")
        .await
        .expect(200)
        .json();
    assert_eq!(revoked, json!({"revoked": SESSIONS - 1}));
    fleet
        .all_show("all ends", async |replica| {
            for (path, token) in &made {
                if replica.as_browser("/auth", token).await.status != 401 || replica.get(path).await.status != 404 {
                    return false;
                }
            }
            true
        })
        .await;
    for replica in &fleet.replicas {
        replica.as_browser("/auth", &others).await.expect(200);
        let listed = replica.get("/v1/users/mallory/sessions").await.expect(200).json();
        assert_eq!(listed, json!({"sessions": []}));
    }
    let mut revoked = 0;
    while revoked < SESSIONS - 1 {
        let event = listener.next().await.expect("the stream goes on");
        if event.kind == "revoked" {
            assert_eq!(
                (&event.data["user_id"], &event.data["reason"]),
                (&json!("mallory"), &json!("user"))
            );
            revoked += 1;
        }
    }
    fleet.at(0).get(&others_path).await.expect(200);
    drop(listener);
    assert_eq!(fleet.finish(cluster).await.sessions, 1);
}

#[tokio::test]
async fn s26_the_time_of_authentication_is_exposed_and_can_be_demanded() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    assert_eq!(made["session"]["authenticated_at"], made["session"]["created_at"]);
    api.clock.advance(Duration::from_secs(301));
    let ask = async |token: &Value, path: &str| {
        let cookie = cookie(token.as_str().unwrap());
        api.call("GET", path, &[("cookie", &cookie)], "").await
    };
    ask(&made["token"], "/auth?max_age=300")
        .await
        .problem(403, "reauthentication_required");
    ask(&made["token"], "/auth?max_age=301").await.expect_empty(200);
    // A new token alone proves nothing; a proof does.
    let rotate = |made: &Value| format!("{}/rotate", path_of(made));
    let unproved = api
        .post(&rotate(&made), json!({"authenticated": false}))
        .await
        .expect(201);
    assert_eq!(
        unproved["session"]["authenticated_at"],
        made["session"]["authenticated_at"]
    );
    ask(&unproved["token"], "/auth?max_age=300")
        .await
        .problem(403, "reauthentication_required");
    let proved = api.post(&rotate(&unproved), json!({})).await.expect(201);
    assert_ne!(
        proved["session"]["authenticated_at"],
        made["session"]["authenticated_at"]
    );
    ask(&proved["token"], "/auth?max_age=300").await.expect_empty(200);
    // An anonymous session was never authenticated, however young it is.
    let nobody = api.create(json!({})).await;
    assert_eq!(nobody["session"]["authenticated_at"], Value::Null);
    ask(&nobody["token"], "/auth?max_age=300")
        .await
        .problem(403, "reauthentication_required");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A log-out of a session that is there asks Redis once more, and writes; an observer must not be able to tell by it which
/// tokens are known, so the difference has to drown in what a network adds: no more than that question takes, and a little.
#[tokio::test]
async fn s27_known_and_unknown_are_answered_alike_and_in_like_time() {
    const ROUNDS: usize = 150;
    const TELLING: Duration = Duration::from_millis(3);
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let replica = fleet.at(0);
    let timed = async |token: &str| {
        let started = Instant::now();
        let answer = log_out(replica, token).await.expect(204);
        let took = started.elapsed();
        let mut headers = answer.headers.clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (took, headers, answer.text)
    };
    let [mut known, mut unknown, mut ended] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let (_, token) = replica.create(json!({"user_id": "alice"})).await;
        // Interleaved, so that whatever else the machine does falls on all alike.
        let first = timed(&token).await;
        let second = timed(&unknown_token()).await;
        let third = timed(&token).await;
        assert_eq!((&first.1, &first.2), (&second.1, &second.2));
        assert_eq!((&first.1, &first.2), (&third.1, &third.2));
        known.push(first.0);
        unknown.push(second.0);
        ended.push(third.0);
    }
    let [known, unknown, ended] = [median(known), median(unknown), median(ended)];
    eprintln!("log-out, median: a session {known:?}, no session {unknown:?}, one that had ended {ended:?}");
    assert!(known.abs_diff(unknown) < TELLING + unknown && unknown.abs_diff(ended) < TELLING);
    // Applications' ends are idempotent too.
    let (path, _) = replica.create(json!({"user_id": "bob"})).await;
    for _ in 0..3 {
        let answer = replica.delete(&path).await.expect(204);
        assert_eq!(answer.text, "");
    }
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn s28_only_a_verified_token_ends_a_session() {
    let secrets = CookieSecrets::new([&b"a secret that is at least 32 bytes"[..]]);
    let api = Api::with(Setup {
        settings: HttpSettings {
            cookie: CookieSettings {
                secrets: Some(secrets),
                ..CookieSettings::default()
            },
            ..HttpSettings::default()
        },
        ..Setup::default()
    });
    let made = api.create(json!({"user_id": "alice"})).await;
    let (path, token, id) = (
        path_of(&made),
        made["token"].as_str().unwrap(),
        made["session"]["id"].as_str().unwrap(),
    );
    let signed = made["set_cookie"].as_str().unwrap().split(';').next().unwrap();
    let forged = format!("{}A", &signed[..signed.len() - 1]);
    let forged = if forged == signed {
        format!("{}B", &signed[..signed.len() - 1])
    } else {
        forged
    };
    let attempts: [Vec<(&str, &str)>; 6] = [
        vec![],
        vec![("cookie", forged.as_str())],
        vec![("cookie", &signed[..signed.len() - 44])],
        vec![("x-auth-session", id)],
        vec![("authorization", "Session aaAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        vec![("cookie", signed), ("authorization", "Session x")],
    ];
    for headers in attempts {
        let headers = [&headers[..], &[SAME_ORIGIN]].concat();
        let answer: Answer = api.call("DELETE", "/session", &headers, "").await;
        answer.expect(204);
        for device in ["/session/others".to_owned(), format!("/session/all/{id}")] {
            let answer = api.call("DELETE", &device, &headers, "").await;
            answer.problem(401, "session_not_found");
        }
        api.get(&path).await.expect(200);
    }
    // Nor is the id a token for anybody, and a token in the path is no id.
    api.delete(&format!("/v1/sessions/{token}"))
        .await
        .problem(400, "invalid_request");
    let by_id = format!("__Host-cloakroom={id}");
    api.call("DELETE", "/session", &[("cookie", &by_id), SAME_ORIGIN], "")
        .await
        .expect(204);
    api.get(&path).await.expect(200);
    api.call("DELETE", "/session", &[("cookie", signed), SAME_ORIGIN], "")
        .await
        .expect(204);
    api.get(&path).await.problem(404, "session_not_found");
}

#[tokio::test]
async fn s29_unknown_tokens_and_log_outs_at_the_faces_write_nothing() {
    const ATTEMPTS: usize = 2_000;
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let keys = async || cluster.keys(&format!("{}:*", fleet.prefix)).await;
    fleet.know_each_other().await;
    let before = keys().await;
    fleet
        .crowd(ATTEMPTS, async |replica, number| {
            let token = unknown_token();
            let answer = when_known(async || match number % 4 {
                0 => replica.as_browser("/auth", &token).await,
                1 => log_out(replica, &token).await,
                2 => {
                    let id = token.parse::<Token>().unwrap().id();
                    replica.delete(&format!("/v1/sessions/{id}")).await
                }
                _ => replica.delete(&format!("/v1/users/nobody-{number}/sessions")).await,
            })
            .await;
            match number % 4 {
                0 => drop(answer.problem(401, "session_not_found")),
                3 => drop(answer.expect(200)),
                _ => drop(answer.expect(204)),
            }
        })
        .await;
    assert_eq!(keys().await, before);
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn s30_the_cookie_is_cleared_by_its_own_name_path_and_domain() {
    for (name, domain, path) in [
        ("__Host-cloakroom", None, "/"),
        ("__Secure-id", Some("example.com"), "/app"),
        ("sid", None, "/shop"),
    ] {
        let api = Api::with(Setup {
            settings: HttpSettings {
                cookie: CookieSettings {
                    name: name.to_owned(),
                    domain: domain.map(str::to_owned),
                    path: path.to_owned(),
                    ..CookieSettings::default()
                },
                ..HttpSettings::default()
            },
            ..Setup::default()
        });
        let made = api.create(json!({})).await;
        let set = made["set_cookie"].as_str().unwrap();
        let header = set.split(';').next().unwrap();
        let answer = api
            .call("DELETE", "/session", &[("cookie", header), SAME_ORIGIN], "")
            .await;
        answer.expect(204);
        let cleared = answer.header("set-cookie");
        let scope = |value: &str| {
            let mut parts: Vec<_> = value.split("; ").skip(1).map(str::to_owned).collect();
            parts.retain(|part| !part.starts_with("Max-Age"));
            parts
        };
        assert!(
            cleared.starts_with(&format!("{name}=;")) && cleared.ends_with("; Max-Age=0"),
            "{cleared}"
        );
        assert_eq!(scope(cleared), scope(set), "{name}");
    }
}
