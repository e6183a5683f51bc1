//! `sluice attestation init`

use std::collections::BTreeMap;

use anyhow::bail;
use contracts::{Runner, api::NewRun, contract::Contract};
use serde_json::json;

use super::status;
use crate::{
    args, clock,
    commands::{connect, variable},
    exit::Exit,
    git,
    report::{Report, plain},
    state::{Session, Workbench},
};

pub async fn run(
    connection: &args::Connection,
    bench: &Workbench,
    project: Option<String>,
    workflow: Option<String>,
    replace: bool,
) -> anyhow::Result<Report> {
    if !replace
        && let Some(session) = bench.load()?
        && !session.signed.is_some_and(|signed| signed.received)
    {
        bail!(
            "an attestation for {}/{} was begun in this folder and not pushed: push it, or drop it with --replace",
            session.run.project,
            session.run.workflow
        );
    }
    let client = connect(connection)?;
    let run = client.start_run(&NewRun { project, workflow }).await?;
    let mut session = Session::new(client.gateway().to_string(), run, clock::now());
    let contract = session.contract()?;
    if let Some((runner, url)) = Runner::detect(&variable) {
        session.runner = Some(runner);
        session.runner_url = url;
    }
    session.env = environment(session.runner, &contract);
    session.git_head = git::head();
    bench.drop_session()?;
    bench.save(&session)?;

    let data = json!({
        "run": session.run.id,
        "organization": session.run.organization,
        "project": session.run.project,
        "workflow": session.run.workflow,
        "contract": session.run.contract.info.name,
        "revision": session.run.contract.info.revision,
        "materials": status::slots(&session, &contract),
    });
    let text = status::describe(&session, &contract);
    let mut report = Report::new(Exit::Yes, &data, text)?;
    if session.git_head.is_none() {
        report = report.note("this folder is not in a Git repository, so the attestation names no commit");
    }
    if let Some(wanted) = &contract.runner
        && session.runner != Some(wanted.value)
    {
        let found = session.runner.map_or("no known runner", Runner::as_str);
        report = report.note(plain(&format!("the contract asks for runner `{}`, and this is {found}", wanted.value)));
    }
    Ok(report)
}

/// What the runner tells of the run, and what the contract asks to keep.
fn environment(runner: Option<Runner>, contract: &Contract) -> BTreeMap<String, String> {
    let told = runner.map_or(&[][..], Runner::variables).iter().copied();
    let asked = contract.env_allow_list.iter().map(String::as_str);
    told.chain(asked)
        .filter_map(|name| Some((name.to_owned(), variable(name).filter(|value| !value.is_empty())?)))
        .collect()
}
