//! `sluice attestation …`: collect what a contract asks for, sign it, push it. What is judged is judged by the
//! gateway; this side only helps to bring the right things.

mod add;
mod init;
mod push;
mod signing;
mod status;
mod verify;

use serde_json::json;

use crate::{args, exit::Exit, report::Report, state::Workbench};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Attestation) -> anyhow::Result<Report> {
    let bench = Workbench::here();
    match args {
        args::Attestation::Init { project, workflow, replace } => {
            init::run(connection, &bench, project.clone(), workflow.clone(), *replace).await
        }
        args::Attestation::Add(args) => add::run(&bench, args).await,
        args::Attestation::Status => status::run(&bench),
        args::Attestation::Push(args) => push::run(connection, &bench, args).await,
        args::Attestation::Reset => {
            let dropped = bench.drop_session()?;
            let text = if dropped { "the session is dropped" } else { "there was no session" };
            Report::new(Exit::Yes, &json!({"dropped": dropped}), text)
        }
        args::Attestation::Verify(args) => verify::run(args),
    }
}
