//! Records of the store as the API shows them.

use contracts::api::{RunInfo, TokenInfo, WorkflowInfo};
use jiff::Timestamp;

use crate::store::{RunRecord, TokenRecord, WorkflowRecord};

pub(super) fn token(record: TokenRecord, now: Timestamp) -> TokenInfo {
    TokenInfo {
        expired: record.expired(now),
        id: record.id,
        name: record.name,
        role: record.role,
        operator: record.operator,
        workflow: record.workflow.map(|w| w.to_string()),
        created_at: record.created_at,
        expires_at: record.expires_at,
        last_used_at: record.last_used_at,
        revoked_at: record.revoked_at,
    }
}

pub(super) fn run(record: RunRecord) -> RunInfo {
    record.into()
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
