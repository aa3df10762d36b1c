//! The `cloakroom` binary: one arm for each command.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use cloakroom::cli::args::{Cli, Command, ConfigCommand, SessionCommand, UserCommand};
use cloakroom::cli::{Failure, client, config_cmd, dev, selftest, serve, token};
use cloakroom::http;
use cloakroom::session::{Clock as _, SystemClock};

/// Answers are made of many small pieces; the system's allocator took about a tenth of a request's time, this one half of
/// that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told where standard error is closed.
            let _ = writeln!(io::stderr(), "cloakroom: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    let mut out = io::stdout();
    match command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Dev(args) => dev::run(&args).await,
        Command::Token(args) => {
            let config = args.settings.load()?.config;
            let now = SystemClock.now().as_millis() / 1000;
            let token = token::mint(&config.jwt, &args.scope, args.ttl, now)?;
            Ok(writeln!(out, "{token}")?)
        }
        Command::Session(SessionCommand::Show(args)) => Ok(args.client.connect()?.show_session(&args.id).await?),
        Command::Session(SessionCommand::End(args)) => Ok(args.client.connect()?.end_session(&args.id).await?),
        Command::User(UserCommand::Sessions(args)) => Ok(args.client.connect()?.show_user(&args.user).await?),
        Command::User(UserCommand::End(args)) => Ok(args.client.connect()?.end_user(&args.user).await?),
        Command::Config(ConfigCommand::Check(args)) => Ok(config_cmd::check(args.settings.load(), &mut out)?),
        Command::Config(ConfigCommand::Print(args)) => {
            Ok(config_cmd::print(&args.settings.load()?.rows, args.format, &mut out)?)
        }
        Command::Openapi => {
            serde_json::to_writer_pretty(&mut out, &http::openapi()).map_err(io::Error::from)?;
            Ok(writeln!(out)?)
        }
        Command::Health(args) => {
            let url = match args.url {
                Some(url) => url,
                None => client::local_url(args.settings.load()?.config.server.admin_listen),
            };
            Ok(client::health(&url).await?)
        }
        Command::Selftest(args) => {
            let jwt = args.settings.load()?.config.jwt;
            selftest::run(&args.client, &jwt, &SystemClock).await?;
            Ok(writeln!(
                out,
                "{}: made a session, validated it and ended it",
                args.client.url
            )?)
        }
    }
}
