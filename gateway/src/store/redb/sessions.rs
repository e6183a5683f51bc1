//! The sessions of runs: bytes that the jobs of a pipeline share until the run ends.

use bytes::Bytes;
use contracts::{Digest, limits};
use jiff::{SignedDuration, Timestamp};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::{
    tables::{SESSION_MARKS, SESSIONS, digest, instant, unread, unwritten},
    write::known_run,
    writer::Done,
};
use crate::{
    names::Name,
    store::{RunSession, SessionKept, StoreError},
};

pub(super) fn read(tx: &ReadTransaction, organization: &Name, run: &str) -> Result<Option<RunSession>, StoreError> {
    let table = tx.open_table(SESSIONS).map_err(unread)?;
    let found = table.get((organization.as_str(), run)).map_err(unread)?;
    Ok(found.map(|row| {
        let bytes = Bytes::copy_from_slice(row.value());
        RunSession { mark: Digest::of(&bytes), bytes }
    }))
}

pub(super) fn keep(
    tx: &WriteTransaction,
    organization: &Name,
    run: &str,
    session: &RunSession,
    before: Option<Digest>,
    now: Timestamp,
) -> Result<Done<SessionKept>, StoreError> {
    let answer = |kept| Ok(Done::unchanged(kept));
    match known_run(tx, organization, run)? {
        None => return answer(SessionKept::Unknown),
        Some(run) if run.state.ended() => return answer(SessionKept::Ended),
        Some(_) => {}
    }
    let name = organization.as_str();
    let mut marks = tx.open_table(SESSION_MARKS).map_err(unwritten)?;
    let mut sessions = tx.open_table(SESSIONS).map_err(unwritten)?;
    let there = marks.get((name, run)).map_err(unread)?.map(|row| digest(row.value().1));
    if there != before {
        return answer(SessionKept::Changed);
    }
    if there.is_none() {
        let rested = SignedDuration::try_from(limits::RUN_STATE_AGE).unwrap_or(SignedDuration::MAX);
        let oldest = instant(now.checked_sub(rested).unwrap_or(Timestamp::MIN));
        let (mut old, mut count) = (Vec::new(), 0_usize);
        for row in marks.range((name, "")..).map_err(unread)? {
            let (key, value) = row.map_err(unread)?;
            let (owner, run) = key.value();
            if owner != name {
                break;
            }
            match value.value().0 < oldest {
                true => old.push(run.to_owned()),
                false => count += 1,
            }
        }
        for run in old {
            marks.remove((name, run.as_str())).map_err(unwritten)?;
            sessions.remove((name, run.as_str())).map_err(unwritten)?;
        }
        if count >= limits::RUN_STATES {
            return answer(SessionKept::TooMany);
        }
    }
    marks.insert((name, run), (instant(now), session.mark.as_bytes())).map_err(unwritten)?;
    sessions.insert((name, run), session.bytes.as_ref()).map_err(unwritten)?;
    answer(SessionKept::Kept(session.mark))
}

/// A run that has ended has no session.
pub(super) fn end(tx: &WriteTransaction, organization: &Name, run: &str) -> Result<(), StoreError> {
    let key = (organization.as_str(), run);
    let had = tx.open_table(SESSION_MARKS).map_err(unwritten)?.remove(key).map_err(unwritten)?.is_some();
    if had {
        tx.open_table(SESSIONS).map_err(unwritten)?.remove(key).map_err(unwritten)?;
    }
    Ok(())
}
