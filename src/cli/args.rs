//! The arguments of the command line. Usage errors exit with 2, failures of a command with 1.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, FlagValue, Loaded, Period, Secret, Sources};

/// The scopes that a caller's token can have.
const SCOPES: [&str; 3] = ["sessions:read", "sessions:write", "sessions:admin"];

/// HTTP sessions shared by every replica of a service.
#[derive(Clone, Debug, Parser)]
#[command(name = "cloakroom", version, about, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cloakroom dev
  cloakroom serve --config /etc/cloakroom/cloakroom.toml
  cloakroom serve --redis-url redis://redis-0:6379 --set jwt.secret_file=/run/secrets/jwt
  cloakroom config print

Settings come from the file, then the environment (CLOAKROOM_SESSION__MAX_BYTES is session.max_bytes), then flags;
each overrides the one before it. Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a replica of the service
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Run several replicas in this process, in memory, to try things out
    #[command(after_help = "Example:\n  cloakroom dev --replicas 2")]
    Dev(DevArgs),
    /// Print a token (JWT) for a caller of the API, signed with jwt.secret
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArgs),
    /// Look at or end one session of a running service
    #[command(subcommand)]
    Session(SessionCommand),
    /// Look at or end all sessions of a user of a running service
    #[command(subcommand)]
    User(UserCommand),
    /// Check or print the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the OpenAPI description of the HTTP API
    Openapi,
    /// Ask a running service whether it is ready (`/readyz`); for health checks of containers
    #[command(after_help = "Example:\n  cloakroom health --url http://127.0.0.1:9090")]
    Health(HealthArgs),
    /// Make a session of a running service, validate it and end it, and say whether all of that was right
    #[command(after_help = SELFTEST_EXAMPLES)]
    Selftest(SelftestArgs),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  cloakroom serve --listen 127.0.0.1:8080
  CLOAKROOM_REDIS__URLS=redis://redis-0:6379 CLOAKROOM_JWT__SECRET_FILE=/run/secrets/jwt cloakroom serve

Without jwt.secret, jwt.jwks_url, jwt.jwks_file or kubernetes.service_accounts callers cannot be authenticated, and only loopback is served.";

const TOKEN_EXAMPLES: &str = "\
Example:
  CLOAKROOM_JWT__SECRET_FILE=/run/secrets/jwt cloakroom token --scope \"sessions:admin\" --ttl 1h";

const SELFTEST_EXAMPLES: &str = "\
Example:
  CLOAKROOM_JWT__SECRET_FILE=/run/secrets/jwt cloakroom selftest --url http://cloakroom:8080

Without --token it signs one with jwt.secret, if that is set.";

/// Flags that override settings.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub struct SettingFlags {
    /// Settings file, TOML [env `CLOAKROOM_CONFIG`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the API [setting `listen`]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of metrics and health [setting `admin_listen`]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Name of this replica; default the host name [setting `server_id`]
    #[arg(long, value_name = "ID")]
    pub server_id: Option<String>,
    /// Redis node, redis:// or rediss://; can be repeated [setting `redis.urls`]
    #[arg(long, value_name = "URL")]
    // A secret: a URL may hold a password.
    pub redis_url: Vec<Secret>,
    /// json or pretty [setting `log.format`]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// off, error, warn, info, debug or trace [setting `log.level`]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Any setting, lists with commas; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, Secret)>,
}

impl SettingFlags {
    /// The sources of the settings: these flags, and the environment of the process.
    pub fn sources(&self) -> Sources {
        Sources {
            config_flag: self.config.clone(),
            environment: std::env::vars_os().collect(),
            flags: self.values(),
        }
    }

    /// Reads and validates all settings.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&self.sources())
    }

    /// The settings that the flags give; a flag of its own wins over `--set`.
    fn values(&self) -> Vec<FlagValue> {
        let flag_value = |flag: &str, key: &str, values: Vec<String>| FlagValue {
            flag: flag.to_owned(),
            key: key.to_owned(),
            values,
        };
        let single = [
            ("--listen", "listen", &self.listen),
            ("--admin-listen", "admin_listen", &self.admin_listen),
            ("--server-id", "server_id", &self.server_id),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        let general = self
            .set
            .iter()
            .map(|(key, value)| flag_value("--set", key, vec![value.expose().to_owned()]));
        let own = single
            .iter()
            .filter_map(|(flag, key, value)| Some(flag_value(flag, key, vec![(*value).clone()?])));
        let urls: Vec<String> = self.redis_url.iter().map(|url| url.expose().to_owned()).collect();
        let redis = (!urls.is_empty()).then(|| flag_value("--redis-url", "redis.urls", urls));
        general.chain(own).chain(redis).collect()
    }
}

fn key_and_value(text: &str) -> Result<(String, Secret), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("use KEY=VALUE, such as session.max_bytes=20KiB")?;
    Ok((key.trim().to_owned(), Secret::new(value)))
}

/// Arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Arguments of `dev`.
#[derive(Args, Clone, Debug)]
pub struct DevArgs {
    /// Number of replicas, each on a port of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub replicas: u16,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Arguments of `token`.
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// Scopes, separated by spaces: sessions:read, sessions:write, sessions:admin
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    pub scope: String,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    pub ttl: Period,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

fn scopes(text: &str) -> Result<String, String> {
    let wanted: Vec<&str> = text.split_whitespace().collect();
    let unknown = wanted.iter().find(|scope| !SCOPES.contains(scope));
    match unknown {
        Some(scope) => Err(format!("{scope:?} is not one of {}", SCOPES.join(", "))),
        None if wanted.is_empty() => Err(format!("give at least one of {}", SCOPES.join(", "))),
        None => Ok(wanted.join(" ")),
    }
}

/// A JWT counts in whole seconds.
fn lifetime(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    if period < Period::from_secs(1) {
        Err("must be at least 1s".to_owned())
    } else {
        Ok(period)
    }
}

/// Where the running service is, and the credential for it.
#[derive(Args, Clone, Debug)]
pub struct ClientFlags {
    /// Address of the service
    #[arg(long, env = "CLOAKROOM_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Token (JWT) of the caller; better given in the environment, where other users do not see it
    #[arg(long, env = "CLOAKROOM_TOKEN", hide_env_values = true, value_name = "JWT")]
    pub token: Option<Secret>,
}

/// The subcommands of `session`.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// Print a session as JSON
    Show(SessionArgs),
    /// End a session
    End(SessionArgs),
}

/// Arguments of `session show` and `session end`.
#[derive(Args, Clone, Debug)]
pub struct SessionArgs {
    /// Id of the session (not its token)
    pub id: String,
    /// The running service.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// The subcommands of `user`.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Print a user's sessions as JSON
    Sessions(UserArgs),
    /// End all of a user's sessions, everywhere
    End(UserArgs),
}

/// Arguments of `user sessions` and `user end`.
#[derive(Args, Clone, Debug)]
pub struct UserArgs {
    /// Id of the user
    pub user: String,
    /// The running service.
    #[command(flatten)]
    pub client: ClientFlags,
}

/// The subcommands of `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the settings as serve would, and say what is wrong
    #[command(after_help = "Example:\n  cloakroom config check --config cloakroom.toml")]
    Check(ConfigCheckArgs),
    /// Print every setting with its value and its origin, secrets masked
    #[command(after_help = "Example:\n  cloakroom config print --format toml > cloakroom.toml")]
    Print(ConfigPrintArgs),
}

/// Arguments of `config check`.
#[derive(Args, Clone, Debug)]
pub struct ConfigCheckArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Arguments of `config print`.
#[derive(Args, Clone, Debug)]
pub struct ConfigPrintArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = PrintFormat::Text)]
    pub format: PrintFormat,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// The form of `config print`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrintFormat {
    /// Aligned columns: key, value, origin
    Text,
    /// A settings file, origins as comments
    Toml,
    /// An object with value and origin by key
    Json,
}

/// Arguments of `health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// Address of the admin listener; default the one of the settings, on this host
    #[arg(long)]
    pub url: Option<String>,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// Arguments of `selftest`.
#[derive(Args, Clone, Debug)]
pub struct SelftestArgs {
    /// The running service.
    #[command(flatten)]
    pub client: ClientFlags,
    /// Settings.
    #[command(flatten)]
    pub settings: SettingFlags,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in [
            "cloakroom serve",
            "cloakroom serve --config c.toml --listen 127.0.0.1:1 --set a=b --set c=d=e",
            "cloakroom dev",
            "cloakroom token --scope sessions:admin",
            "cloakroom session show abc",
            "cloakroom session end abc --url http://h:1 --token t",
            "cloakroom user sessions alice",
            "cloakroom user end alice",
            "cloakroom selftest --url http://h:1",
            "cloakroom config check",
            "cloakroom config print --format toml",
            "cloakroom openapi",
            "cloakroom health",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_2_and_help_with_0() {
        for line in [
            "cloakroom",
            "cloakroom sevre",
            "cloakroom token",
            "cloakroom token --scope sessions:all",
            "cloakroom token --scope sessions:read --ttl 5",
            "cloakroom token --scope sessions:read --ttl 0",
            "cloakroom dev --replicas 0",
            "cloakroom session show",
            "cloakroom serve --set listen",
            "cloakroom serve --nope",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let help = parse("cloakroom serve --help").unwrap_err();
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
        assert!(help.to_string().contains("Examples:"), "{help}");
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let Command::Dev(dev) = parse("cloakroom dev").unwrap() else {
            panic!("dev")
        };
        assert_eq!(dev.replicas, 3);
        let Command::Token(token) = parse("cloakroom token --scope sessions:read").unwrap() else {
            panic!("token")
        };
        assert_eq!(token.ttl, Period::from_hours(1));
    }

    #[test]
    fn flags_become_settings_with_their_name() {
        let line =
            "cloakroom serve --set listen=1.1.1.1:1 --listen 2.2.2.2:2 --redis-url redis://a --redis-url redis://b";
        let Command::Serve(serve) = parse(line).unwrap() else {
            panic!("serve")
        };
        let values = serve.settings.values();
        let last_listen = values.iter().rfind(|value| value.key == "listen").unwrap();
        assert_eq!(
            (last_listen.flag.as_str(), last_listen.values.as_slice()),
            ("--listen", &["2.2.2.2:2".to_owned()][..])
        );
        let urls = values.iter().find(|value| value.key == "redis.urls").unwrap();
        assert_eq!((urls.flag.as_str(), urls.values.len()), ("--redis-url", 2));
    }

    #[test]
    fn debug_shows_no_secret_of_a_flag() {
        let line = "cloakroom serve --set jwt.secret=hunter2 --redis-url redis://:hunter2@h";
        assert!(!format!("{:?}", parse(line).unwrap()).contains("hunter2"));
        let line = "cloakroom session show abc --token hunter2";
        assert!(!format!("{:?}", parse(line).unwrap()).contains("hunter2"));
    }
}
