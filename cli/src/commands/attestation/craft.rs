//! From a session to the statement that is signed.

use std::collections::BTreeMap;

use anyhow::bail;
use contracts::{contract::Contract, crafting::Craft};
use jiff::Timestamp;

use crate::state::Session;

/// Everything that goes into the statement, with these annotations of the attestation.
pub fn craft(session: &Session, annotations: BTreeMap<String, String>, finished_at: Timestamp) -> Craft {
    let run = &session.run;
    Craft {
        organization: run.organization.clone(),
        project: run.project.clone(),
        workflow: run.workflow.clone(),
        team: run.team.clone(),
        run_id: run.id.clone(),
        contract_name: run.contract.info.name.clone(),
        contract_revision: run.contract.info.revision,
        version: session.project_version.clone(),
        runner: session.runner,
        runner_url: session.runner_url.clone(),
        started_at: session.started_at,
        finished_at,
        materials: session.materials.values().map(|added| added.material.clone()).collect(),
        annotations,
        env: session.env.clone(),
        git_head: session.git_head.clone(),
    }
}

/// The annotations of the attestation: the caller's, those that were found at the beginning, and the contract's. A value
/// that the contract gives stays; what is missing is told by the gateway.
///
/// # Errors
/// When the caller gives another value than the contract.
pub fn annotations<'a>(
    session: &Session,
    contract: &Contract,
    given: impl IntoIterator<Item = &'a (String, String)>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut annotations = session.annotations.clone();
    annotations.extend(given.into_iter().cloned());
    for clause in &contract.annotations {
        let Some(fixed) = &clause.value else { continue };
        match annotations.insert(clause.name.clone(), fixed.clone()) {
            Some(other) if other != *fixed => {
                bail!("the contract says that the annotation `{}` is `{fixed}`", clause.name)
            }
            _ => {}
        }
    }
    Ok(annotations)
}
