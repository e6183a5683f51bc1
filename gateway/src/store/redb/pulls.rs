//! The log of pulls. Entries are numbered without gaps, so that how many there are is told by the first and the last.

use contracts::{api::PullInfo, limits};
use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    tables::{PULLS, decode, encode, unread, unwritten},
    writer::Done,
};
use crate::{names::Name, store::StoreError};

/// Appends entries, and drops the oldest beyond what is kept.
pub(super) fn put(tx: &WriteTransaction, organization: &Name, pulls: &[PullInfo]) -> Result<Done<()>, StoreError> {
    let mut table = tx.open_table(PULLS).map_err(unwritten)?;
    let name = organization.as_str();
    let (first, last) = {
        let mut rows = table.range((name, 0)..=(name, u64::MAX)).map_err(unread)?;
        let last = rows.next_back().transpose().map_err(unread)?.map(|(key, _)| key.value().1);
        let first = rows.next().transpose().map_err(unread)?.map(|(key, _)| key.value().1);
        (first.or(last), last)
    };
    let mut number = last.unwrap_or(0);
    for pull in pulls {
        number = number.saturating_add(1);
        table.insert((name, number), encode("pulls", pull)?.as_slice()).map_err(unwritten)?;
    }
    let keep_from = number.saturating_sub(limits::PULLS).saturating_add(1);
    for old in first.unwrap_or(number)..keep_from {
        table.remove((name, old)).map_err(unwritten)?;
    }
    Ok(Done::unchanged(()))
}

/// The entries from an instant on, the newest first, at most `limit`.
pub(super) fn newest(
    tx: &ReadTransaction,
    organization: &Name,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<PullInfo>, StoreError> {
    let table = tx.open_table(PULLS).map_err(unread)?;
    let name = organization.as_str();
    let mut pulls = Vec::new();
    for row in table.range((name, 0)..=(name, u64::MAX)).map_err(unread)?.rev() {
        if pulls.len() == limit {
            break;
        }
        let pull: PullInfo = decode("pulls", row.map_err(unread)?.1.value())?;
        // They are appended as they are flushed, so that a clock that was set back leaves some out of order.
        if since.is_some_and(|since| pull.at < since) {
            continue;
        }
        pulls.push(pull);
    }
    Ok(pulls)
}
