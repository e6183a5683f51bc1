//! Records of the store as the API shows them.

use contracts::api::{RunInfo, TokenInfo, WorkflowInfo};

use crate::store::{RunRecord, TokenRecord, WorkflowRecord};

pub(super) fn token(record: TokenRecord) -> TokenInfo {
    TokenInfo {
        id: record.id,
        name: record.name,
        role: record.role,
        workflow: record.workflow.map(|w| w.to_string()),
        created_at: record.created_at,
        revoked_at: record.revoked_at,
    }
}

pub(super) fn run(record: RunRecord) -> RunInfo {
    RunInfo {
        id: record.id,
        project: record.workflow.project.to_string(),
        workflow: record.workflow.workflow.to_string(),
        state: record.state,
        started_at: record.started_at,
        received_at: record.received_at,
        attestation: record.attestation,
        revision: record.revision,
        findings: record.findings,
    }
}

pub(super) fn workflow(record: WorkflowRecord, last_run: Option<RunRecord>) -> WorkflowInfo {
    WorkflowInfo {
        project: record.name.project.to_string(),
        name: record.name.workflow.to_string(),
        team: record.team,
        contract: record.contract.to_string(),
        created_at: record.created_at,
        last_run: last_run.map(run),
    }
}
