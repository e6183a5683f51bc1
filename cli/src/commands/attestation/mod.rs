//! `sluice attestation …`: collect what a contract asks for, sign it, push it. What is judged is judged by the
//! gateway; this side only helps to bring the right things.
//!
//! Flags, variables and the JSON that is printed ([`shape`]) are those that published pipelines of Chainloop use, with
//! more keys beside. A command reads the session, does its part and keeps it: in this machine's files under a lock, or at
//! the gateway, where others may be quicker ([`crate::desk`]).

mod add;
mod around;
mod change;
mod craft;
mod foresee;
mod init;
mod manifest;
mod push;
mod remove;
mod reset;
mod shape;
pub mod signing;
mod status;
mod verify;
mod wanted;
mod withdraw;

use anyhow::bail;

use crate::{
    args,
    commands::connect,
    desk::Desk,
    exit::Exit,
    report::{self, Report},
    state::{Session, Workbench},
};

/// Runs the command and prints what it found.
pub async fn run(connection: &args::Connection, args: &args::Crafting) -> anyhow::Result<Exit> {
    match command(connection, args).await {
        Ok(report) => {
            report.print_crafted(args.output);
            Ok(report.exit)
        }
        // Of what is verified or withdrawn, nothing but having done it is a yes.
        Err(error) if args.graceful_exit == Some(true) && !exact(&args.command) => {
            report::failure(&error);
            Ok(Exit::Yes)
        }
        Err(error) => Err(error),
    }
}

async fn command(connection: &args::Connection, args: &args::Crafting) -> anyhow::Result<Report> {
    let named = args.local_state_path.as_deref();
    match &args.command {
        args::Attestation::Init(init) => {
            let place =
                if args.remote_state { init::Place::Gateway } else { init::Place::Files(Workbench::here(named)) };
            init::run(connection, place, init, args.org.as_deref()).await
        }
        args::Attestation::Verify(args) => verify::run(args).await,
        args::Attestation::Withdraw(args) => withdraw::withdraw(connection, args).await,
        args::Attestation::Restore { attestation } => withdraw::restore(connection, attestation).await,
        args::Attestation::Withdrawn => withdraw::list(connection).await,
        command => {
            let mut desk = match args.attestation_id.as_ref().filter(|id| !id.is_empty()) {
                Some(run) => Desk::remote(connect(connection)?, run.clone()),
                None if args.remote_state => bail!("say which attestation, as `init` printed it: --attestation-id ID"),
                None => {
                    let bench = Workbench::find(named);
                    match (bench.load()?, command) {
                        (Some(session), _) => belongs_to(&session, args.org.as_deref())?,
                        (None, args::Attestation::Reset(_)) => return reset::nothing(),
                        (None, _) => drop(bench.open()?),
                    }
                    // Held until the command is over.
                    Desk::local(bench)?
                }
            };
            match command {
                args::Attestation::Add(args) => add::run(&mut desk, args).await,
                args::Attestation::Remove(args) => remove::run(&mut desk, args).await,
                args::Attestation::Status(args) => status::run(&mut desk, args).await,
                args::Attestation::Push(args) => push::run(connection, &mut desk, args).await,
                args::Attestation::Reset(args) => reset::run(connection, &mut desk, args).await,
                args::Attestation::Init(_)
                | args::Attestation::Verify(_)
                | args::Attestation::Withdraw(_)
                | args::Attestation::Restore { .. }
                | args::Attestation::Withdrawn => bail!("this is done elsewhere"),
            }
        }
    }
}

/// Commands of which a script is never told that they were done when they were not.
fn exact(command: &args::Attestation) -> bool {
    use args::Attestation::{Restore, Verify, Withdraw};
    matches!(command, Verify(_) | Withdraw(_) | Restore { .. })
}

/// The organization is the token's; one that is said must be that.
fn belongs_to(session: &Session, organization: Option<&str>) -> anyhow::Result<()> {
    match organization {
        Some(said) if said != session.run.organization => {
            bail!("the token is of the organization `{}`, and --org says `{said}`", session.run.organization)
        }
        _ => Ok(()),
    }
}
