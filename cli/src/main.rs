//! The `sluice` command line: arguments become settings, settings a command, a command's result a report.
//!
//! This crate must not decide anything about evidence: offline commands ask `policies` and `contracts`, all others
//! ask the gateway. Only `serve` and `quickstart` run one.

mod ambient;
mod args;
mod beside;
mod client;
mod clock;
mod commands;
mod desk;
mod exit;
mod files;
mod git;
mod image;
mod keychain;
mod layout;
mod report;
mod settings;
mod sigstore;
mod sources;
mod state;
mod upload;
mod version;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Arguments, Command, LintFormat},
    commands::{
        attestation, backup, cache, check, contract, deny, doctor, evidence, exemption, key, organization, policy,
        pulls, quickstart, run, schema, serve, shell, token, workflow,
    },
    exit::Exit,
    report::Report,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Threads are for those who serve others: a client waits for one answer, and each thread has memory of its own.
    let mut builder = match arguments.command {
        Command::Serve(_) | Command::Quickstart(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::failure(&anyhow::Error::new(error).context("the program cannot start"));
            return Exit::Unknown.into();
        }
    };
    let exit = runtime.block_on(dispatch(&arguments)).unwrap_or_else(|error| {
        report::failure(&error);
        Exit::Unknown
    });
    exit.into()
}

async fn dispatch(arguments: &Arguments) -> anyhow::Result<Exit> {
    let connection = &arguments.connection;
    let (report, format): (Report, LintFormat) = match &arguments.command {
        Command::Serve(args) => return serve::run(args).await,
        Command::Quickstart(args) if args.files => (quickstart::files(&args.dir)?, LintFormat::Human),
        Command::Quickstart(args) => {
            return quickstart::run(&args.dir, args.exit).await.map(|()| Exit::Yes);
        }
        Command::Contract(args) => (contract::run(connection, &args.command, args.output).await?, args.output),
        Command::Policy(args) => (policy::run(connection, &args.command, args.output).await?, args.output),
        Command::Workflow(args) => (workflow::run(connection, &args.command).await?, args.output.into()),
        Command::Run(args) => {
            let report = run::run(connection, &args.command, args.output).await?;
            report.print_crafted(args.output);
            return Ok(report.exit);
        }
        Command::Attestation(args) => return attestation::run(connection, args).await,
        Command::Check(args) => (check::run(connection, args).await?, LintFormat::Human),
        Command::Organization(args) => (organization::run(connection, &args.command).await?, args.output.into()),
        Command::Exemption(args) => (exemption::run(connection, &args.command, args.output).await?, args.output),
        Command::Deny(args) => (deny::run(connection, args).await?, args.output.into()),
        Command::Pulls(args) => (pulls::run(connection, args).await?, args.output.into()),
        Command::Doctor(args) => (doctor::run(connection, args).await?, args.output.into()),
        Command::Token(args) => (token::run(connection, &args.command).await?, args.output.into()),
        Command::Cache(args) => (cache::run(connection, &args.command).await?, args.output.into()),
        Command::Evidence(args) => (evidence::run(connection, &args.command).await?, args.output.into()),
        Command::Key(args) => (key::run(args)?, LintFormat::Human),
        Command::Schema { kind } => (schema::run(*kind)?, LintFormat::Human),
        Command::Completions { shell } => (shell::completions(*shell)?, LintFormat::Human),
        Command::Man { folder } => (shell::manual(folder)?, LintFormat::Human),
        Command::Backup(args) => (backup::run(connection, args).await?, LintFormat::Human),
    };
    report.print(format);
    Ok(report.exit)
}
