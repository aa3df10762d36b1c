use std::collections::BTreeSet;

use serde_json::json;

use super::Api;

#[tokio::test]
async fn all_sessions_are_listed_page_by_page() {
    let api = Api::new();
    let mut made = BTreeSet::new();
    for number in 0..25 {
        let class = if number % 5 == 0 { "temporary" } else { "normal" };
        let session = api
            .create(json!({"user_id": format!("u{}", number % 3), "class": class}))
            .await;
        made.insert(session["session"]["id"].as_str().unwrap().to_owned());
    }
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = api.get(&format!("/v1/sessions?limit=10{cursor}")).await.expect(200);
        pages += 1;
        for session in page["sessions"].as_array().unwrap() {
            assert!(seen.insert(session["id"].as_str().unwrap().to_owned()), "listed twice");
        }
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((seen, pages), (made, 3));

    let temporary = api.get("/v1/sessions?class=temporary&server_id=one").await.expect(200);
    assert_eq!(temporary["sessions"].as_array().unwrap().len(), 5);
    let elsewhere = api.get("/v1/sessions?server_id=two").await.expect(200);
    assert_eq!(elsewhere, json!({"sessions": [], "next_cursor": null}));
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "class=nope",
        "server_id=a%20b",
        "page=2",
    ] {
        api.get(&format!("/v1/sessions?{bad}"))
            .await
            .problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn s24_all_sessions_end_only_when_it_is_confirmed() {
    let api = Api::new();
    for _ in 0..3 {
        api.create(json!({})).await;
    }
    for bad in ["", "?confirm=yes", "?confirm=all&confirm=all", "?confirm=all&x=1"] {
        api.delete(&format!("/v1/sessions{bad}"))
            .await
            .problem(400, "invalid_request");
    }
    api.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(
        api.delete("/v1/sessions?confirm=all").await.expect(200),
        json!({"revoked": 3})
    );
}

#[tokio::test]
async fn the_fleet_is_counted() {
    let api = Api::new();
    api.create(json!({"user_id": "alice"})).await;
    api.create(json!({"user_id": "alice", "class": "sensitive"})).await;
    api.create(json!({})).await;
    let stats = api.get("/v1/stats").await.expect(200);
    assert_eq!((&stats["sessions"], &stats["users"]), (&json!(3), &json!(1)));
    assert_eq!(
        stats["by_class"],
        json!({"normal": 2, "remember_me": 0, "sensitive": 1, "temporary": 0})
    );
    assert_eq!(stats["by_server"], json!({"one": 3}));
    assert_eq!(
        stats["duration_seconds"],
        json!({"average": null, "p50": null, "p90": null, "p99": null})
    );
    assert_eq!(stats["as_of"], "2027-01-15T08:00:00.000Z");
    let servers = api.get("/v1/servers").await.expect(200);
    let expected = json!({"servers": [
        {"server_id": "one", "state": "live", "sessions": 3, "leader": true},
        {"server_id": "two", "state": "live", "sessions": 0, "leader": false},
    ]});
    assert_eq!(servers, expected);
}
