//! The log of pulls: a ring for each kind of entry, so that what can be made up does not drive out what cannot. Entries of a
//! ring are numbered without gaps, so that how many there are is told by the first and the last.

use std::collections::BTreeMap;

use contracts::{
    Decision,
    api::{PullInfo, PullWay, PulledImage},
    limits,
};
use jiff::Timestamp;
use redb::{Range, ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    tables::{CLUSTERS, CLUSTERS_DENIED, PULLS, PULLS_DENIED, PullsTable, decode, encode, unread, unwritten},
    writer::Done,
};
use crate::{names::Name, store::StoreError};

/// Every ring.
const RINGS: [PullsTable; 4] = [PULLS, PULLS_DENIED, CLUSTERS, CLUSTERS_DENIED];

/// The ring of an entry, and how many are kept in it.
fn ring(pull: &PullInfo) -> (PullsTable, u64) {
    match (pull.way, pull.decision) {
        (PullWay::Pull, Decision::Allow) => (PULLS, limits::PULLS),
        (PullWay::Pull, Decision::Deny) => (PULLS_DENIED, limits::PULLS_DENIED),
        (PullWay::Kubernetes, Decision::Allow) => (CLUSTERS, limits::PULLS_OF_CLUSTERS),
        (PullWay::Kubernetes, Decision::Deny) => (CLUSTERS_DENIED, limits::PULLS_DENIED),
    }
}

/// Appends entries, each to its ring, and drops the oldest of each beyond what is kept.
pub(super) fn put(tx: &WriteTransaction, organization: &Name, pulls: &[PullInfo]) -> Result<Done<()>, StoreError> {
    for table in RINGS {
        let mut of_it = pulls.iter().filter_map(|pull| {
            let (ring, kept) = ring(pull);
            (redb::TableHandle::name(&ring) == redb::TableHandle::name(&table)).then_some((pull, kept))
        });
        if let Some((first, kept)) = of_it.next() {
            append(tx, table, kept, organization, std::iter::once(first).chain(of_it.map(|(pull, _)| pull)))?;
        }
    }
    Ok(Done::unchanged(()))
}

fn append<'p>(
    tx: &WriteTransaction,
    ring: PullsTable,
    kept: u64,
    organization: &Name,
    pulls: impl Iterator<Item = &'p PullInfo>,
) -> Result<(), StoreError> {
    let mut table = tx.open_table(ring).map_err(unwritten)?;
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
    let keep_from = number.saturating_sub(kept).saturating_add(1);
    for old in first.unwrap_or(number)..keep_from {
        table.remove((name, old)).map_err(unwritten)?;
    }
    Ok(())
}

/// The entries from an instant on, the newest first, at most `limit`.
pub(super) fn newest(
    tx: &ReadTransaction,
    organization: &Name,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<PullInfo>, StoreError> {
    let mut merged = Merged::of(tx, organization, &RINGS)?;
    let mut pulls = Vec::new();
    while pulls.len() < limit
        && let Some(pull) = merged.next()?
    {
        // They are appended as they are flushed, so that a clock that was set back leaves some out of order.
        if since.is_none_or(|since| pull.at >= since) {
            pulls.push(pull);
        }
    }
    Ok(pulls)
}

/// The images that were let through from an instant on, each with its newest entry, the newest first, at most `limit`. No
/// more than these is held.
pub(super) fn images(
    tx: &ReadTransaction,
    organization: &Name,
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<PulledImage>, StoreError> {
    let mut merged = Merged::of(tx, organization, &[PULLS, CLUSTERS])?;
    let mut newest: BTreeMap<String, (usize, PulledImage)> = BTreeMap::new();
    while newest.len() < limit
        && let Some(pull) = merged.next()?
    {
        let told = pull.decision == Decision::Allow && since.is_none_or(|since| pull.at >= since);
        if told && !newest.contains_key(&pull.image) {
            let PullInfo { at: last, way, image, by, name, told_by, .. } = pull;
            newest.insert(image.clone(), (newest.len(), PulledImage { image, last, way, by, name, told_by }));
        }
    }
    let mut images: Vec<_> = newest.into_values().collect();
    images.sort_unstable_by_key(|(place, _)| *place);
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

/// Entries of several rings, the newest first, read one by one.
struct Merged {
    /// What is left of each ring, and its newest entry.
    rings: Vec<(Rows, Option<PullInfo>)>,
}

type Rows = Range<'static, (&'static str, u64), &'static [u8]>;

impl Merged {
    fn of(tx: &ReadTransaction, organization: &Name, rings: &[PullsTable]) -> Result<Self, StoreError> {
        let name = organization.as_str();
        let mut merged = Self { rings: Vec::with_capacity(rings.len()) };
        for ring in rings {
            let table = tx.open_table(*ring).map_err(unread)?;
            let mut rows = table.range((name, 0)..=(name, u64::MAX)).map_err(unread)?;
            let head = take(&mut rows)?;
            merged.rings.push((rows, head));
        }
        Ok(merged)
    }

    fn next(&mut self) -> Result<Option<PullInfo>, StoreError> {
        let heads = self.rings.iter_mut().filter(|(_, head)| head.is_some());
        let Some((rows, head)) = heads.max_by_key(|(_, head)| head.as_ref().map(|pull| pull.at)) else {
            return Ok(None);
        };
        let next = take(rows)?;
        Ok(std::mem::replace(head, next))
    }
}

fn take(rows: &mut Rows) -> Result<Option<PullInfo>, StoreError> {
    match rows.next_back() {
        Some(row) => Ok(Some(decode("pulls", row.map_err(unread)?.1.value())?)),
        None => Ok(None),
    }
}
