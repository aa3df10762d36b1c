//! One session on every replica.

use serde_json::json;

use super::{Fleet, segment};
use crate::support::redis_cluster::shared_cluster;

/// Every printable ASCII character, and what else makes trouble in paths, keys and headers; but for the dot, which
/// URL libraries take for the present folder, percent-encoded or not.
fn printable_names() -> Vec<String> {
    let ascii: String = (' '..='~').collect();
    let of_all = ascii.chars().map(String::from).filter(|name| name != ".");
    let more = [
        "alice@example.com",
        "a/b/../c",
        "{a}{b}",
        "a b",
        " a ",
        "%2F",
        "ünï",
        "用户",
        "👩‍👩‍👧",
        "a\u{301}",
        "'\"\\",
        "__proto__",
        ascii.as_str(),
    ];
    of_all.chain(more.map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_one_replica_does_all_show_within_the_bound() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, token) = fleet
        .at(0)
        .create(json!({"user_id": "alice", "data": {"theme": "dark"}}))
        .await;
    for replica in &fleet.replicas {
        let session = replica.get(&path).await.expect(200).json();
        assert_eq!(session["data"]["theme"], "dark");
        assert_eq!(session["server_id"], "replica-0");
        assert!(replica.is_valid(&token).await);
        replica.as_browser("/session", &token).await.expect(200);
    }
    for round in 0..12 {
        let change = json!({"data": {"round": round}});
        let changed = fleet.at(round).call("PATCH", &path, change).await.expect(200).json();
        let version = changed["version"].as_u64().unwrap();
        for replica in &fleet.replicas {
            let (strong, own) = (
                replica.get(&format!("{path}?consistency=strong")).await,
                replica.get(&format!("{path}?min_version={version}")).await,
            );
            assert_eq!(strong.json()["data"]["round"], round);
            assert_eq!(own.json()["data"]["round"], round);
        }
        fleet
            .all_show("a change", async |replica| {
                replica.get(&path).await.json()["data"]["round"] == round
            })
            .await;
    }
    fleet.at(1).delete(&path).await.expect(204);
    fleet
        .all_show("an end", async |replica| {
            let faces = [
                replica.get(&path).await.status == 404,
                !replica.is_valid(&token).await,
                replica.as_browser("/auth", &token).await.status == 401,
                replica.as_browser("/session", &token).await.status == 401,
            ];
            faces.into_iter().all(|gone| gone)
        })
        .await;
    let audit = fleet.finish(cluster).await;
    assert_eq!((audit.sessions, audit.users), (0, 0));
}

#[tokio::test]
async fn user_ids_and_data_keys_of_every_printable_kind() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let names = printable_names();
    let names = &names;
    fleet
        .crowd(names.len(), async |replica, number| {
            let name = &names[number];
            let (path, token) = replica.create(json!({"user_id": name, "data": {name: 0}})).await;
            let key = format!("{path}/data/{}", segment(name));
            replica.call("PUT", &key, json!({"name": name})).await.expect(204);
            let other = fleet.at(number + 1);
            assert_eq!(other.get(&key).await.json()["name"], *name);
            let session = other.get(&path).await.json();
            assert_eq!(session["user_id"], *name);
            assert_eq!(session["data"][name]["name"], *name);
            let auth = other.as_browser("/auth", &token).await.expect(200);
            let user = percent_encoding::percent_decode_str(auth.header("x-auth-user"));
            assert_eq!(user.decode_utf8().unwrap(), *name);
            let sessions = format!("/v1/users/{}/sessions", segment(name));
            let listed = other.get(&sessions).await.expect(200).json();
            assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{name:?}");
            other.delete(&key).await.expect(204);
            let ended = fleet.at(number + 2).delete(&sessions).await.expect(200).json();
            assert_eq!(ended["revoked"], 1, "{name:?}");
            assert_eq!(replica.get(&format!("{path}?consistency=strong")).await.status, 404);
        })
        .await;
    let audit = fleet.finish(cluster).await;
    assert_eq!((audit.sessions, audit.users), (0, 0));
}
