//! Whose a run id is. Set once and never changed, so that what was decided by it stays true.

use contracts::Digest;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    read::found,
    tables::{CLAIMS, encode, unread, unwritten},
    write::known_run,
    writer::Done,
};
use crate::{
    names::{Name, WorkflowName},
    store::StoreError,
};

/// The one signed content, of the one workflow, that a run id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) workflow: WorkflowName,
    pub(super) signed: Digest,
}

pub(super) fn known(tx: &ReadTransaction, organization: &Name, run: &str) -> Result<Option<Claim>, StoreError> {
    found(tx.open_table(CLAIMS).map_err(unread)?.get((organization.as_str(), run)), "claims")
}

pub(super) fn known_to_write(
    tx: &WriteTransaction,
    organization: &Name,
    run: &str,
) -> Result<Option<Claim>, StoreError> {
    found(tx.open_table(CLAIMS).map_err(unwritten)?.get((organization.as_str(), run)), "claims")
}

/// Claims a run id. False, and nothing is changed: it is another workflow's or stands for other content.
pub(super) fn claim(
    tx: &WriteTransaction,
    organization: &Name,
    run: &str,
    claim: &Claim,
) -> Result<Done<bool>, StoreError> {
    if let Some(known) = known_to_write(tx, organization, run)? {
        return Ok(Done::unchanged(known == *claim));
    }
    if known_run(tx, organization, run)?.is_some_and(|begun| begun.workflow != claim.workflow) {
        return Ok(Done::unchanged(false));
    }
    put(tx, organization, run, claim)?;
    Ok(Done::unchanged(true))
}

/// Writes a claim of what nobody else has claimed.
pub(super) fn put(tx: &WriteTransaction, organization: &Name, run: &str, claim: &Claim) -> Result<(), StoreError> {
    let bytes = encode("claims", claim)?;
    let mut table = tx.open_table(CLAIMS).map_err(unwritten)?;
    table.insert((organization.as_str(), run), bytes.as_slice()).map_err(unwritten)?;
    Ok(())
}
