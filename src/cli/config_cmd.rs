//! `cloakroom config check` and `cloakroom config print`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::args::PrintFormat;
use crate::config::{ConfigError, Loaded, Origin, Row, Unauthenticated};

/// Why a configuration is not one that `serve` would start with; the text has a line for each problem.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The settings themselves are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// They are right and yet not enough.
    #[error("serve would refuse to start: {0}")]
    Serve(#[from] Unauthenticated),
    /// The answer could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Says `ok` and what the settings amount to, or fails with what is wrong.
pub fn check(loaded: Result<Loaded, ConfigError>, out: &mut impl Write) -> Result<(), CheckError> {
    let loaded = loaded?;
    loaded.config.validate_for_serve()?;
    let config = &loaded.config;
    let store = match config.redis.urls.len() {
        0 => "memory (not for production)".to_owned(),
        1 => "redis, 1 url".to_owned(),
        count => format!("redis, {count} urls"),
    };
    let callers = match (
        config.jwt.is_configured(),
        config.kubernetes.service_accounts.is_empty(),
    ) {
        (true, true) => "authenticated by JWT",
        (true, false) => "authenticated by JWT or as service accounts of Kubernetes",
        (false, false) => "authenticated as service accounts of Kubernetes",
        (false, true) => "not authenticated, loopback only",
    };
    let tls = if config.tls.pair().is_some() { "https" } else { "http" };
    let classes: Vec<&str> = config.session.classes.keys().map(String::as_str).collect();
    writeln!(out, "ok")?;
    writeln!(out, "settings: {}", origins(&loaded.rows))?;
    writeln!(
        out,
        "listens:  {tls} on {}, admin on {}",
        config.server.listen, config.server.admin_listen
    )?;
    writeln!(out, "store:    {store}")?;
    writeln!(out, "callers:  {callers}")?;
    writeln!(out, "classes:  {}", classes.join(", "))?;
    Ok(())
}

/// How many settings come from where, such as `45 by default, 3 from /etc/cloakroom.toml`.
fn origins(rows: &[Row]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let source = match &row.origin {
            Origin::Default => "by default".to_owned(),
            Origin::File(path) => format!("from {}", path.display()),
            Origin::Environment(_) => "from the environment".to_owned(),
            Origin::Flag(_) => "from flags".to_owned(),
        };
        *counts.entry(source).or_default() += 1;
    }
    counts
        .iter()
        .map(|(source, count)| format!("{count} {source}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Writes every setting with its value and its origin, secrets masked.
pub fn print(rows: &[Row], format: PrintFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        PrintFormat::Text => print_text(rows, out),
        PrintFormat::Toml => print_toml(rows, out),
        PrintFormat::Json => print_json(rows, out),
    }
}

/// Columns; a value over 48 characters pushes its own origin only, not those of all lines.
fn print_text(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    const WIDEST_COLUMN: usize = 48;
    let shown = |row: &Row| match &row.value {
        None => "-".to_owned(),
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(toml::Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => other.to_string(),
    };
    let lines: Vec<(&str, String, String)> = rows
        .iter()
        .map(|row| (row.key.as_str(), shown(row), row.origin.to_string()))
        .collect();
    let key_width = lines.iter().map(|(key, ..)| key.len()).max().unwrap_or_default();
    let widths = lines.iter().map(|(_, value, _)| value.chars().count());
    let value_width = widths.filter(|width| *width <= WIDEST_COLUMN).max().unwrap_or_default();
    for (key, value, origin) in lines {
        writeln!(out, "{key:key_width$}  {value:value_width$}  {origin}")?;
    }
    Ok(())
}

/// A file that can be read again: what is not set, or masked, is commented out.
fn print_toml(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    for row in rows {
        let Row { key, origin, .. } = row;
        match &row.value {
            None => writeln!(out, "# {key} is not set")?,
            Some(value) if row.masked => writeln!(out, "# {key} = {value}  # {origin}")?,
            Some(value) => writeln!(out, "{key} = {value}  # {origin}")?,
        }
    }
    Ok(())
}

fn print_json(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    let by_key: serde_json::Map<String, serde_json::Value> = rows
        .iter()
        .map(|row| {
            (
                row.key.clone(),
                json!({ "value": row.value, "origin": row.origin.to_string() }),
            )
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &by_key)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn sources() -> Sources {
        let variables = [
            ("CLOAKROOM_JWT__SECRET", SECRET),
            ("CLOAKROOM_REDIS__URLS", "redis://:hunter2@a:1,redis://b:2"),
            ("CLOAKROOM_HTTP__SESSION_HEADER", "false"),
        ];
        Sources {
            environment: variables.map(|(name, value)| (name.into(), value.into())).into(),
            ..Sources::default()
        }
    }

    fn printed(format: PrintFormat) -> String {
        let mut out = Vec::new();
        print(&Config::load(&sources()).unwrap().rows, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_form_shows_a_secret() {
        for format in [PrintFormat::Text, PrintFormat::Toml, PrintFormat::Json] {
            let text = printed(format);
            assert!(!text.contains(SECRET) && !text.contains("hunter2"), "{text}");
            assert!(
                text.contains("CLOAKROOM_JWT__SECRET") && text.contains("********"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_text_form_is_aligned() {
        let text = printed(PrintFormat::Text);
        let column_of = |wanted: &str| text.lines().find_map(|line| line.find(wanted)).unwrap();
        assert_eq!(column_of("0.0.0.0:8080"), column_of("0.0.0.0:9090"));
        assert_eq!(column_of("default"), column_of("CLOAKROOM_JWT__SECRET"));
    }

    #[test]
    fn the_toml_form_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloakroom.toml");
        std::fs::write(&path, printed(PrintFormat::Toml)).unwrap();
        let again = Config::load(&Sources {
            config_flag: Some(path),
            ..Sources::default()
        })
        .unwrap();
        assert!(!again.config.http.session_header);
        assert!(again.config.jwt.secret.is_none());
    }

    #[test]
    fn the_json_form_is_typed() {
        let value: serde_json::Value = serde_json::from_str(&printed(PrintFormat::Json)).unwrap();
        assert_eq!(
            value["http.session_header"],
            json!({"value": false, "origin": "CLOAKROOM_HTTP__SESSION_HEADER"})
        );
        assert_eq!(value["jwt.issuer"], json!({"value": null, "origin": "default"}));
    }

    #[test]
    fn check_says_ok_or_what_is_wrong() {
        let mut out = Vec::new();
        check(Config::load(&sources()), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("ok\n") && text.contains("3 from the environment"),
            "{text}"
        );
        assert!(
            text.contains("store:    redis, 2 urls") && text.contains("by JWT"),
            "{text}"
        );

        let unauthenticated = check(Config::load(&Sources::default()), &mut Vec::new()).unwrap_err();
        assert!(
            unauthenticated.to_string().contains("serve would refuse to start: "),
            "{unauthenticated}"
        );
    }
}
