use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::session::{InvalidName, JsonMap, UserId};
use crate::sessions::{CreateRequest, Issued, Sessions};

/// The sessions that the curl lines speak of.
pub(super) struct Seeds {
    /// A user with roles, data and a cart.
    pub(super) alice: Issued,
    /// One of two sessions of a user who is about to be logged out everywhere.
    pub(super) bob: Issued,
    /// Nobody's.
    pub(super) anonymous: Issued,
}

/// Makes the sessions.
pub(super) async fn plant(sessions: &Sessions) -> Result<Seeds, Failure> {
    let alice = CreateRequest {
        user_id: Some(user("alice")?),
        roles: vec!["user".to_owned(), "editor".to_owned()],
        permissions: vec!["read".to_owned(), "write".to_owned()],
        data: object([
            ("theme", json!("dark")),
            ("cart", json!([{"product_id": "umbrella", "quantity": 2}])),
        ])?,
        metadata: object([("login_method", json!("password"))])?,
        ..CreateRequest::default()
    };
    let bob = || -> Result<CreateRequest, Failure> {
        Ok(CreateRequest {
            user_id: Some(user("bob")?),
            roles: vec!["user".to_owned()],
            ..CreateRequest::default()
        })
    };
    let anonymous = CreateRequest {
        class: Some("temporary".to_owned()).filter(|class| sessions.classes().get(class).is_some()),
        data: object([("visits", json!(1))])?,
        ..CreateRequest::default()
    };
    sessions.create(bob()?).await?;
    Ok(Seeds {
        alice: sessions.create(alice).await?,
        bob: sessions.create(bob()?).await?,
        anonymous: sessions.create(anonymous).await?,
    })
}

fn user(name: &str) -> Result<UserId, Failure> {
    UserId::new(name).map_err(|rule: InvalidName| Failure::Setting(rule.to_string()))
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Result<JsonMap, Failure> {
    let mut map = JsonMap::new();
    for (key, value) in entries {
        map.insert(key, to_raw_value(&value).map_err(std::io::Error::from)?);
    }
    Ok(map)
}
