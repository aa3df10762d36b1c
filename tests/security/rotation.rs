//! S08 to S13: tokens that change.

use serde_json::json;

use crate::support::api::{Api, NOBODY, path_of};
use crate::support::fleet::Fleet;
use crate::support::listener::Listener;
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

#[tokio::test]
async fn s08_s09_a_log_in_kills_the_old_token_everywhere_within_the_bound() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let body = json!({"data": {"cart": ["tea"], "poison": 1}});
    let planted = fleet.at(0).call("POST", "/v1/sessions", body).await.expect(201).json();
    let (path, old) = (path_of(&planted), planted["token"].as_str().unwrap());
    // PATCH keeps the token.
    fleet
        .at(1)
        .call("PATCH", &path, json!({"data": {"n": 1}}))
        .await
        .expect(200);
    // Every server holds it in memory.
    for replica in &fleet.replicas {
        for _ in 0..3 {
            replica.as_browser("/session", old).await.expect(200);
        }
    }
    let body = json!({"user_id": "alice", "keep": ["cart"]});
    let logged_in = fleet
        .at(1)
        .call("POST", &format!("{path}/rotate"), body)
        .await
        .expect(201)
        .json();
    fleet
        .all_show("the planted token's end", async |replica| {
            replica.as_browser("/session", old).await.status == 401
                && replica.as_browser("/auth", old).await.status == 401
                && !replica.is_valid(old).await
                && replica.get(&path).await.status == 404
        })
        .await;
    let new = logged_in["token"].as_str().unwrap();
    assert_ne!(new, old);
    assert_ne!(logged_in["csrf_token"], planted["csrf_token"]);
    for replica in &fleet.replicas {
        let session = replica.as_browser("/session", new).await.expect(200).json();
        assert_eq!(session["user_id"], "alice");
        assert_eq!(
            session["data"],
            json!({"cart": ["tea"]}),
            "what is not named is dropped"
        );
    }
    let verify = format!("{}/csrf/verify", path_of(&logged_in));
    let former = json!({"csrf_token": planted["csrf_token"]});
    let answer = fleet.at(2).call("POST", &verify, former).await.expect(200);
    assert_eq!(answer.json(), json!({"valid": false}));

    // A re-authentication of the same user: a log-in as well, without any grace.
    let again = format!("{}/rotate", path_of(&logged_in));
    let (_, newest) = fleet
        .at(0)
        .call("POST", &again, json!({"user_id": "alice"}))
        .await
        .expect(201)
        .issued();
    fleet
        .all_show("the former token's end", async |replica| {
            replica.as_browser("/auth", new).await.status == 401
        })
        .await;
    fleet.at(2).as_browser("/auth", &newest).await.expect(200);
    assert_eq!(fleet.finish(cluster).await.sessions, 1);
}

#[tokio::test]
async fn s11_a_hundred_requests_across_a_rotation_log_nobody_out() {
    const REQUESTS: usize = 100;
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, token) = fleet.at(0).create(json!({"user_id": "alice"})).await;
    let rotate = format!("{path}/rotate");
    let outcomes = fleet
        .crowd(REQUESTS, async |replica, number| {
            if number == REQUESTS / 2 {
                return Some(replica.call("POST", &rotate, json!({})).await.expect(201).issued());
            }
            let face = ["/auth", "/session"][number % 2];
            replica.as_browser(face, &token).await.expect(200);
            None
        })
        .await;
    let rotated: Vec<_> = outcomes.into_iter().flatten().collect();
    let [(new_path, new)] = rotated.as_slice() else {
        panic!("{} new tokens", rotated.len());
    };
    // The first use of the new token, and a hundred more of both.
    fleet
        .crowd(REQUESTS, async |replica, number| {
            let token = [new, &token][number % 2];
            let session = replica.as_browser("/session", token).await.expect(200).json();
            assert!(new_path.ends_with(session["id"].as_str().unwrap()), "{session}");
        })
        .await;
    let listed = fleet.at(1).get("/v1/users/alice/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "no fork");

    // A hundred rotations at once are one session still, and every token of them opens it.
    let rotate = format!("{new_path}/rotate");
    let all = fleet
        .crowd(REQUESTS, async |replica, _| {
            replica.call("POST", &rotate, json!({})).await.expect(201).issued().1
        })
        .await;
    let listed = fleet.at(2).get("/v1/users/alice/sessions?").await.json();
    let [current] = listed["sessions"].as_array().unwrap().as_slice() else {
        panic!("{listed}");
    };
    for (index, token) in all.iter().enumerate() {
        let session = fleet.at(index).as_browser("/session", token).await.expect(200).json();
        assert_eq!(session["id"], current["id"]);
    }
    assert_eq!(fleet.finish(cluster).await.sessions, 1);
}

#[tokio::test]
async fn s12_a_replay_after_the_grace_ends_the_family_and_is_told() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[("session.rotation_grace", "400ms")]).await;
    let (path, stolen) = fleet.at(0).create(json!({"user_id": "alice"})).await;
    let (other, unconcerned) = fleet.at(0).create(json!({"user_id": "alice"})).await;
    let mut listener = Listener::start(fleet.at(2), None).await;
    let rotate = format!("{path}/rotate");
    let (new_path, new) = fleet.at(1).call("POST", &rotate, json!({})).await.expect(201).issued();
    // Until the new token is used, the old one goes on, however long.
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    fleet.at(0).as_browser("/session", &stolen).await.expect(200);
    fleet.at(1).as_browser("/session", &new).await.expect(200);
    // Within the grace both do; then the first use of the old one is the last of both.
    eventually(SOON, "the grace to end", async || {
        let answer = fleet.at(0).as_browser("/session", &stolen).await;
        assert!(matches!(answer.status, 200 | 401), "{}", answer.text);
        answer.status == 401
    })
    .await;
    fleet
        .all_show("the end of the family", async |replica| {
            replica.as_browser("/auth", &new).await.status == 401
                && replica.get(&new_path).await.status == 404
                && replica.get(&format!("{new_path}?consistency=strong")).await.status == 404
        })
        .await;
    let told = listener.until("theft", &new_path).await;
    assert_eq!(told.last().unwrap().data["user_id"], "alice");
    let mut counted = 0.0;
    for replica in &fleet.replicas {
        let metrics = reqwest::get(format!("http://{}/metrics", replica.admin)).await.unwrap();
        let text = metrics.text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("cloakroom_theft_detected_total "));
        counted += line.unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
    }
    assert!(counted >= 1.0, "{counted}");
    // The user's other sessions are none of that family.
    fleet.at(1).as_browser("/auth", &unconcerned).await.expect(200);
    fleet.at(1).get(&other).await.expect(200);
    drop(listener);
    assert_eq!(fleet.finish(cluster).await.sessions, 1);
}

#[tokio::test]
async fn s13_an_id_stays_with_its_user() {
    let api = Api::new();
    let alice = api.create(json!({"user_id": "alice"})).await;
    let rotate = format!("{}/rotate", path_of(&alice));
    api.post(&rotate, json!({"user_id": "bob"}))
        .await
        .problem(400, "invalid_request");
    assert_eq!(api.get(&path_of(&alice)).await.expect(200), alice["session"]);
    // At a log-in the anonymous id is not taken over, and it never comes back.
    let nobody = api.create(json!({})).await;
    let log_in = format!("{}/rotate", path_of(&nobody));
    let bob = api.post(&log_in, json!({"user_id": "bob"})).await.expect(201);
    assert_ne!(bob["session"]["id"], nobody["session"]["id"]);
    api.post(&log_in, json!({"user_id": "carol"}))
        .await
        .problem(404, "session_not_found");
    api.get(&path_of(&nobody)).await.problem(404, "session_not_found");
    // Nor does anybody choose one.
    let id = &NOBODY["/v1/sessions/".len()..];
    for field in ["id", "token", "session_id"] {
        let chosen = json!({"user_id": "mallory", field: id});
        api.post("/v1/sessions", chosen.clone())
            .await
            .problem(400, "invalid_request");
        api.call("PUT", NOBODY, &[], &chosen.to_string())
            .await
            .problem(405, "method_not_allowed");
        api.post(&rotate, chosen).await.problem(400, "invalid_request");
    }
}
