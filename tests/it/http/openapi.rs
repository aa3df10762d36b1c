use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Api;

async fn description(api: &Api) -> Value {
    api.get("/openapi.json").await.expect(200)
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let api = Api::new();
    let description = description(&api).await;
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(found.contains("#/components/schemas/Session") && found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} dangles");
    }
}

#[tokio::test]
async fn every_described_route_is_there_and_tells_its_problems() {
    let api = Api::new();
    let description = description(&api).await;
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 19, "{}", paths.len());
    let mut ids = BTreeSet::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} names two operations");
            assert!(operation["summary"].is_string(), "{id}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{id}");
            if path != "/openapi.json" {
                let problem = &responses["400"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(problem, "#/components/schemas/Problem", "{id}");
            }
            if path.starts_with("/v1/") {
                assert!(operation["security"][0]["bearer"].is_array(), "{id}");
            }
            if id == "events" {
                continue; // A stream without an end.
            }
            let concrete = path
                .replace("{id}", "x")
                .replace("{*original}", "x")
                .replace("{key}", "x")
                .replace("{user_id}", "x");
            let answer = api.call(&method.to_uppercase(), &concrete, &[], "").await;
            assert!(
                ![404, 405].contains(&answer.status.as_u16()),
                "{method} {path} is not there"
            );
        }
    }
}

#[tokio::test]
async fn the_described_session_is_the_one_that_is_answered() {
    let api = Api::new();
    let made = api.create(json!({})).await;
    let description = description(&api).await;
    let schemas = &description["components"]["schemas"];
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&schemas["Session"]["properties"]), names(&made["session"]));
    assert_eq!(
        names(&schemas["Security"]["properties"]),
        names(&made["session"]["security"])
    );
    let problem = api.get("/nowhere").await.json();
    assert_eq!(names(&schemas["Problem"]["properties"]), names(&problem));
}
