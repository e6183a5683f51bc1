//! `sluice workflow …`

use contracts::api::{NewWorkflow, RunInfo, WorkflowInfo};

use super::{connect, run::state_name};
use crate::{
    args,
    exit::Exit,
    report::{Report, plain, table},
};

/// Runs the command.
pub async fn run(connection: &args::Connection, args: &args::Workflow) -> anyhow::Result<Report> {
    let client = connect(connection)?;
    match args {
        args::Workflow::Create { project, name, team, contract } => {
            let workflow = NewWorkflow {
                project: project.clone(),
                name: name.clone(),
                team: team.clone(),
                contract: contract.clone(),
            };
            let info = client.create_workflow(&workflow).await?;
            let text = format!("workflow {}/{} answers to contract {}", info.project, info.name, info.contract);
            Report::new(Exit::Yes, &info, plain(&text))
        }
        args::Workflow::List => {
            let list = client.workflows().await?;
            let rows = list.iter().map(|info| {
                [info.project.clone(), info.name.clone(), info.team.clone(), info.contract.clone(), last(info)]
            });
            let text = table::table(["project", "workflow", "team", "contract", "last run"], rows);
            Report::new(Exit::Yes, &list, text)
        }
        args::Workflow::Describe { project, name } => {
            let info = client.workflow(project, name).await?;
            let text = table::card([
                ("project", info.project.clone()),
                ("workflow", info.name.clone()),
                ("team", info.team.clone()),
                ("contract", info.contract.clone()),
                ("created", info.created_at.to_string()),
                ("last run", last(&info)),
            ]);
            Report::new(Exit::Yes, &info, text)
        }
    }
}

fn last(info: &WorkflowInfo) -> String {
    let shown = |run: &RunInfo| format!("{} {}", state_name(run.state), run.received_at.unwrap_or(run.started_at));
    info.last_run.as_ref().map(shown).unwrap_or_default()
}
