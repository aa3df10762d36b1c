//! The settings file that the chart writes is one that the service takes, and says what the values say.

use cloakroom::config::{Config, Loaded, Sources};
use tempfile::TempDir;

use crate::{bundled, has_helm, helm, renderings};

const SECRETS: &str = "/run/secrets/cloakroom";

/// Something for each file that a secret of the chart, or of the operator, holds.
const FILES: [(&str, &str); 4] = [
    ("jwt.secret_file", "0123456789abcdef0123456789abcdef"),
    ("redis.password_file", "a password"),
    ("redis.ca_file", "-----BEGIN CERTIFICATE-----"),
    ("cookie.secrets_file", "a-cookie-secret-of-thirty-two-bytes"),
];

/// Reads a settings file as the service would, with its secrets in a directory of this test.
fn load(settings: &str) -> Result<Loaded, String> {
    let directory = TempDir::new().unwrap();
    for (name, content) in FILES {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let file = directory.path().join("cloakroom.toml");
    let settings = settings.replace(SECRETS, directory.path().to_str().unwrap());
    std::fs::write(&file, settings).unwrap();
    let sources = Sources {
        config_flag: Some(file),
        ..Sources::default()
    };
    Config::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn the_service_takes_every_settings_file() {
    if !has_helm() {
        return;
    }
    for (name, rendered) in renderings() {
        // One of them has other names.
        let Some(text) = rendered
            .of_kind("ConfigMap")
            .iter()
            .find_map(|map| map["data"]["cloakroom.toml"].as_str())
        else {
            panic!("{name} has no settings")
        };
        load(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    }
}

#[test]
fn values_arrive_with_their_types() {
    if !has_helm() {
        return;
    }
    let file = helm::chart().join("ci/external-values.yaml");
    let rendered = helm::render(&["--values", file.to_str().unwrap()]).unwrap();
    let config = load(rendered.settings()).unwrap().config;
    assert_eq!(config.redis.urls.len(), 1);
    assert_eq!(config.redis.prefix, "shop");
    assert_eq!(config.redis.username.as_deref(), Some("cloakroom"));
    assert_eq!(config.redis.password.as_ref().unwrap().value().expose(), "a password");
    assert_eq!(
        config.session.max_per_user.map(|most| most.to_string()).as_deref(),
        Some("5")
    );
    assert_eq!(config.session.classes["kiosk"].absolute.get().as_secs(), 8 * 3600);
    assert_eq!(config.http.cors_origins, ["https://shop.example.com"]);
    assert_eq!(config.jwt.issuer.as_deref(), Some("https://issuer.example.com"));
}

#[test]
fn kubernetes_is_told_by_the_names_of_the_release() {
    if !has_helm() {
        return;
    }
    let accounts = "serviceAccounts[0].namespace=shop,serviceAccounts[0].name=web,\
                    serviceAccounts[0].scopes={sessions:read,sessions:write}";
    let rendered = bundled(&["--set", accounts]);
    let kubernetes = load(rendered.settings()).unwrap().config.kubernetes;
    assert!(kubernetes.enabled);
    assert_eq!(kubernetes.namespace.as_deref(), Some("sessions"));
    rendered.object("Service", &kubernetes.service);
    assert_eq!(kubernetes.lease, "cloakroom");
    let account = &kubernetes.service_accounts[0];
    assert_eq!(
        (account.namespace.as_str(), account.name.as_str(), account.scopes.len()),
        ("shop", "web", 2)
    );
    let without = bundled(&["--set", "kubernetes.enabled=false"]);
    assert!(!load(without.settings()).unwrap().config.kubernetes.enabled);
}

#[test]
fn numbers_lists_and_texts_are_written_as_toml() {
    if !has_helm() {
        return;
    }
    let given = r#"{"http": {"max_connections": 2000000, "trusted_proxies": ["10.0.0.0/8", "fd00::/8"]}, "cookie": {"secure": false, "name": "a\"b\\c"}}"#;
    let rendered = bundled(&["--set-json", &format!("config={given}")]);
    let told: toml::Table = rendered.settings().parse().unwrap();
    assert_eq!(told["http"]["max_connections"].as_integer(), Some(2_000_000));
    assert_eq!(told["http"]["trusted_proxies"].as_array().unwrap().len(), 2);
    assert_eq!(told["cookie"]["secure"].as_bool(), Some(false));
    assert_eq!(told["cookie"]["name"].as_str(), Some("a\"b\\c"));
}
