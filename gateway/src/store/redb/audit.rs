//! The audit log: numbered entries per organization, each with the digest of the one before it.

use contracts::Digest;
use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{AUDIT, decode, encode, unread, unwritten};
use crate::{
    names::Name,
    store::{AuditEntry, StoreError},
};

/// An entry as it is written; its digest is over exactly these bytes.
#[derive(Serialize, Deserialize)]
struct Written {
    number: u64,
    at: Timestamp,
    organization: Name,
    event: String,
    detail: serde_json::Value,
    previous: Option<Digest>,
}

/// Adds an entry in the transaction of what it tells.
pub(super) fn append(
    tx: &WriteTransaction,
    organization: &Name,
    event: &str,
    detail: serde_json::Value,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut table = tx.open_table(AUDIT).map_err(unwritten)?;
    let name = organization.as_str();
    let last = {
        let mut entries = table.range((name, 0)..=(name, u64::MAX)).map_err(unread)?;
        let last = entries.next_back().transpose().map_err(unread)?;
        last.map(|(key, value)| (key.value().1, Digest::of(value.value())))
    };
    let (number, previous) = match last {
        Some((number, digest)) => (number.saturating_add(1), Some(digest)),
        None => (1, None),
    };
    let entry = Written { number, at, organization: organization.clone(), event: event.to_owned(), detail, previous };
    table.insert((name, number), encode("audit", &entry)?.as_slice()).map_err(unwritten)?;
    Ok(())
}

/// Reads an entry, which must follow on the one before it where that is given.
pub(super) fn read(number: u64, bytes: &[u8], before: Option<Digest>) -> Result<AuditEntry, StoreError> {
    let Written { number: written, at, event, detail, previous, .. } = decode("audit", bytes)?;
    if written != number || before.is_some_and(|b| Some(b) != previous) {
        let reason = format!("entry {number} does not follow on the one before it: the log was changed");
        return Err(StoreError::Corrupt { table: "audit", reason });
    }
    Ok(AuditEntry { number, at, event, detail, previous, digest: Digest::of(bytes) })
}
