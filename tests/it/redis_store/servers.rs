//! Every kind of server, through the same code: a single Redis, Valkey, with TLS, with passwords, behind dead seeds.

use std::sync::Arc;

use cloakroom::session::SystemRandom;
use cloakroom::store::redis::{Credentials, RedisOptions, RedisStore};
use cloakroom::store::{Lookup, SessionStore, StoreError};
use cloakroom::telemetry::Metrics;

use super::calls::{Call, Scene};
use super::{make, new_session, proxied, user};
use crate::support::audit::{audit, audit_single};
use crate::support::ports::free_address;
use crate::support::server::{Acl, RedisServer, ServerBinary, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::store::{connect, redis_options};
use crate::support::tls::TlsMaterial;

async fn try_connect(options: RedisOptions) -> Result<RedisStore, StoreError> {
    RedisStore::connect(options, Arc::new(SystemRandom), Metrics::new().unwrap()).await
}

async fn check_every_call(server: &RedisServer, options: RedisOptions) {
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    for call in Call::ALL {
        let scene = Scene::new(&store, call).await;
        let outcome = scene.run(&store).await;
        assert!(outcome.is_ok(), "{call:?}: {outcome:?}");
        if call != Call::GetAlias {
            scene.check_effect(&store).await;
        }
    }
    assert_eq!(store.node_timeout().await, None);
    let mut events = store.events().await.unwrap();
    let id = make(&store, new_session(&store, &user("heard"))).await;
    assert_eq!(events.recv().await.unwrap().session_id, id);
    audit_single(server, &prefix).await;
}

#[tokio::test]
async fn a_single_redis_serves_every_call() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    check_every_call(&redis, redis_options(vec![redis.url()])).await;
}

#[tokio::test]
async fn valkey_serves_every_call() {
    let binary = ServerBinary::Valkey;
    if binary.path().is_none() {
        println!("no valkey-server on this machine: passed over");
        return;
    }
    let valkey = SingleRedis::start(ServerOptions {
        binary,
        ..ServerOptions::default()
    })
    .await;
    check_every_call(&valkey, redis_options(vec![valkey.url()])).await;
}

#[tokio::test]
async fn a_single_encrypted_redis_serves_every_call_to_who_trusts_it() {
    let redis = SingleRedis::start(ServerOptions {
        tls: Some(TlsMaterial::generate()),
        acl: Some(Acl::all_rights("cloakroom", "right")),
        ..ServerOptions::default()
    })
    .await;
    let mut options = redis_options(vec![redis.url()]);
    options.ca_file = redis.ca_file();
    check_every_call(&redis, options.clone()).await;

    let directory = tempfile::tempdir().unwrap();
    options.ca_file = Some(TlsMaterial::generate().write_to(directory.path()).ca);
    let error = refusal(options.clone()).await;
    assert!(
        error.contains("certificate") && error.contains(&redis.address().to_string()),
        "{error}"
    );
    options.ca_file = Some(directory.path().join("nowhere.pem"));
    let error = refusal(options).await;
    assert!(
        error.contains("redis.ca_file") && error.contains("nowhere.pem"),
        "{error}"
    );
}

async fn refusal(options: RedisOptions) -> String {
    match try_connect(options).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("a store that should have been refused"),
    }
}

#[tokio::test]
async fn credentials_come_from_the_url_or_apart_and_can_change() {
    let redis = SingleRedis::start(ServerOptions {
        acl: Some(Acl::all_rights("cloakroom", "first")),
        ..ServerOptions::default()
    })
    .await;
    let mut options = redis_options(vec![redis.url()]);
    let id = {
        let store = connect(options.clone()).await;
        make(&store, new_session(&store, &user("owner"))).await
    };

    // Apart from the URL, which names nobody: these win over those of the URL, too.
    let credentials = |password: &str| Credentials {
        username: Some("cloakroom".to_owned()),
        password: Some(password.to_owned()),
    };
    options.urls = vec![format!("redis://{}", redis.address())];
    options.credentials.store(Arc::new(credentials("wrong")));
    let error = refusal(options.clone()).await;
    assert!(
        error.contains("WRONGPASS") || error.contains("uthentication"),
        "{error}"
    );
    assert!(!error.contains("wrong"), "an error tells the password: {error}");
    options.credentials.store(Arc::new(credentials("first")));
    let store = connect(options.clone()).await;
    assert!(matches!(store.get(id).await.unwrap(), Lookup::Found(_)));

    redis
        .command(&["ACL", "SETUSER", "cloakroom", "resetpass", ">second"])
        .await;
    options.credentials.store(Arc::new(credentials("second")));
    store.reconnect();
    redis.command(&["CLIENT", "KILL", "USER", "cloakroom"]).await;
    assert!(matches!(store.get(id).await.unwrap(), Lookup::Found(_)));
}

#[tokio::test]
async fn a_seed_that_is_down_is_passed_over() {
    let cluster = proxied().await;
    let dead = format!("redis://{}", free_address());
    let options = redis_options(vec![dead.clone(), dead.clone(), cluster.urls()[4].clone()]);
    let prefix = options.prefix.clone();
    check_seeds(options).await;
    audit(&cluster, &prefix).await;
    let redis = SingleRedis::start(ServerOptions::default()).await;
    check_seeds(redis_options(vec![dead.clone(), redis.url()])).await;
    let error = refusal(redis_options(vec![dead.clone()])).await;
    assert!(error.contains(dead.strip_prefix("redis://").unwrap()), "{error}");
}

async fn check_seeds(options: RedisOptions) {
    let store = connect(options).await;
    let id = make(&store, new_session(&store, &user("owner"))).await;
    assert!(matches!(store.get(id).await.unwrap(), Lookup::Found(_)));
}
