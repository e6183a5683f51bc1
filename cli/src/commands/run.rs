//! `sluice run …`

mod save;

use anyhow::{Context, bail};
use contracts::{
    RunnerIdentity,
    api::{RunInfo, RunState},
};

use super::connect;
use crate::{
    args::{self, CraftFormat},
    exit::Exit,
    files::{self, Readers},
    report::{Crafted, Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Run, format: CraftFormat) -> anyhow::Result<Report> {
    match args {
        args::Run::List { project, workflow, limit } => {
            let named = match (project, workflow) {
                (Some(project), Some(workflow)) => Some(format!("{project}/{workflow}")),
                (None, Some(named)) if named.contains('/') => Some(named.clone()),
                (None, Some(name)) => bail!("write --workflow PROJECT/{name}, or name the project with --project"),
                (_, None) => None,
            };
            let list = connect(connection)?.runs(named.as_deref(), *limit).await?;
            let rows = list.iter().map(|run| {
                [
                    run.id.clone(),
                    format!("{}/{}", run.project, run.workflow),
                    state_name(run.state).to_owned(),
                    table::moment(run.received_at.unwrap_or(run.started_at)),
                    blocking(run),
                ]
            });
            let text = table::table(["run", "workflow", "state", "when", "what blocked"], rows);
            Report::new(Exit::Yes, &list, text)
        }
        args::Run::Describe { id } => {
            let client = connect(connection)?;
            let run = client.run(id).await?;
            let report = Report::new(Exit::Yes, &run, describe(&run))?;
            // Only who asks for the attestation has it sent.
            Ok(match (format, run.attestation) {
                (CraftFormat::Statement | CraftFormat::Attestation, Some(attestation)) => {
                    report.crafted(Crafted::of(&client.attestation(&attestation).await?))
                }
                _ => report,
            })
        }
        args::Run::Save { id, to } => save::run(&connect(connection)?, id, to).await,
        args::Run::Provenance { id, to } => {
            let bundle = connect(connection)?.provenance(id).await?;
            let value: serde_json::Value = serde_json::from_slice(&bundle).context("the gateway sent no bundle")?;
            match to {
                None => Report::new(Exit::Yes, &value, value.to_string()),
                Some(path) => {
                    files::replace(path, &bundle, Readers::Everyone)?;
                    let text = format!("what run {id} built is told in {}", path.display());
                    Report::new(Exit::Yes, &value, plain(&text))
                }
            }
        }
    }
}

/// A run as a card, with what was found.
pub fn describe(run: &RunInfo) -> String {
    let mut text = table::card([
        ("run", run.id.clone()),
        ("workflow", format!("{}/{}", run.project, run.workflow)),
        ("state", state_name(run.state).to_owned()),
        ("started", run.started_at.to_string()),
        ("received", run.received_at.map(|at| at.to_string()).unwrap_or_default()),
        ("attestation", run.attestation.map(|id| id.to_string()).unwrap_or_default()),
        ("contract revision", run.revision.map(|number| number.to_string()).unwrap_or_default()),
    ]);
    if let Some(identity) = &run.identity {
        text.push('\n');
        text.push_str(&proven(identity));
    }
    if !run.findings.is_empty() {
        text.push('\n');
        text.push_str(&table::findings(&run.findings));
    }
    text
}

/// Who was proven to have pushed the attestation.
fn proven(identity: &RunnerIdentity) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    table::card([
        ("proven by", format!("{} ({})", identity.provider, identity.issuer)),
        ("subject", identity.subject.clone()),
        ("repository", text(&identity.repository)),
        ("pipeline", text(&identity.workflow)),
        ("commit", text(&identity.commit)),
        ("ref", text(&identity.git_ref)),
        ("environment", text(&identity.environment)),
        ("run there", text(&identity.run_url)),
        ("runner", text(&identity.runner_environment)),
    ])
}

/// The state as a word.
pub fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Started => "started",
        RunState::Accepted => "accepted",
        RunState::Rejected => "rejected",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
        RunState::Withdrawn => "withdrawn",
    }
}

fn blocking(run: &RunInfo) -> String {
    let messages: Vec<&str> =
        run.findings.iter().filter(|finding| finding.blocks()).map(|finding| finding.message.as_str()).collect();
    messages.join("\n")
}
