//! What is written where. Every key begins with the organization; records are JSON, so that older ones can be
//! read when fields are added.

use contracts::Digest;
use jiff::Timestamp;
use redb::TableDefinition;
use serde::{Serialize, de::DeserializeOwned};

use crate::store::StoreError;

/// A digest within a key.
pub(super) type Key = &'static [u8; 32];

/// `format` → the version of this file's layout.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// `program` → the version that wrote the file last
pub(super) const WRITTEN_BY: TableDefinition<'_, &str, &str> = TableDefinition::new("written-by");
/// organization → its settings
pub(super) const ORGANIZATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("organizations");
/// organization, token id → token
pub(super) const TOKENS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("tokens");
/// organization, contract, number → revision
pub(super) const REVISIONS: TableDefinition<'_, (&str, &str, u32), &[u8]> = TableDefinition::new("revisions");
/// organization, contract that was removed → its last revision then. One with a higher number stands again.
pub(super) const REMOVED: TableDefinition<'_, (&str, &str), u32> = TableDefinition::new("removed-contracts");
/// organization, `project/workflow` → workflow
pub(super) const WORKFLOWS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("workflows");
/// organization, run id → run
pub(super) const RUNS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("runs");
/// organization, run id → whose it is for good
pub(super) const CLAIMS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("claims");
/// organization, run id → its session
pub(super) const SESSIONS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("sessions");
/// organization, run id → when its session was kept, and its digest: what is looked through without the sessions
/// themselves, which can be large
pub(super) const SESSION_MARKS: TableDefinition<'_, (&str, &str), (u64, Key)> = TableDefinition::new("session-marks");
/// organization, begin, run id
pub(super) const RUNS_BY_TIME: TableDefinition<'_, (&str, u64, &str), ()> = TableDefinition::new("runs-by-time");
/// organization, `project/workflow`, begin, run id
pub(super) const RUNS_BY_WORKFLOW: TableDefinition<'_, (&str, &str, u64, &str), ()> =
    TableDefinition::new("runs-by-workflow");
/// organization, attestation → what is known of it, without its bytes
pub(super) const ATTESTATIONS: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("attestations");
/// organization, attestation → its bytes
pub(super) const BUNDLES: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("bundles");
/// organization, digest of what was signed → its first receipt, and the earliest time proven for it
pub(super) const FIRST_SEEN: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("first-seen");
/// organization, digest of what was signed, digest over whom it speaks for → the attestation that was stored for it
pub(super) const WRAPPINGS: TableDefinition<'_, (&str, Key, Key), Key> = TableDefinition::new("wrappings");
/// organization, image that it was made for, contract, `project/workflow`, place in the order of runs, whether it was rejected (0 or 1),
/// pushed attestation
pub(super) const SUBJECTS: TableDefinition<'_, SubjectKey<'_>, ()> = TableDefinition::new("subjects");
/// The same for what it was made for that is no image.
pub(super) const ARTIFACTS: TableDefinition<'_, SubjectKey<'_>, ()> = TableDefinition::new("artifacts");
/// See [`SUBJECTS`].
pub(super) type SubjectKey<'a> = (&'a str, &'a [u8; 32], &'a str, &'a str, u64, u8, &'a [u8; 32]);
/// organization, number → audit entry
pub(super) const AUDIT: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("audit");
/// organization, name → exemption
pub(super) const EXEMPTIONS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("exemptions");
/// organization, digest of an exemption that does not come back → since when
pub(super) const WITHDRAWN: TableDefinition<'_, (&str, Key), u64> = TableDefinition::new("withdrawn-exemptions");
/// organization, digest → its denial by an operator
pub(super) const DENIALS: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("denials");
/// organization, digest of what was signed → that it is withdrawn
pub(super) const WITHDRAWALS: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("withdrawn-attestations");
/// organization, what it names as its subject, attestation that was not pushed and is withdrawn: so that it is known of
/// also when it lies beside nothing any more
pub(super) const WITHDRAWN_ABOUT: TableDefinition<'_, (&str, Key, Key), ()> = TableDefinition::new("withdrawn-about");
/// organization, number → who pulled what; numbers follow each other without gaps. Layouts before 12 have everything here.
pub(super) const PULLS: PullsTable = TableDefinition::new("pulls");
/// The same for what clients were denied, for what clusters were let start, and for what they were denied. Each is a ring of
/// its own, so that none drives another out.
pub(super) const PULLS_DENIED: PullsTable = TableDefinition::new("pulls-denied");
pub(super) const CLUSTERS: PullsTable = TableDefinition::new("cluster-pulls");
pub(super) const CLUSTERS_DENIED: PullsTable = TableDefinition::new("cluster-pulls-denied");
/// See [`PULLS`].
pub(super) type PullsTable = TableDefinition<'static, (&'static str, u64), &'static [u8]>;
/// organization, verdict key → verdict
pub(super) const VERDICTS: TableDefinition<'_, (&str, Key), &[u8]> = TableDefinition::new("verdicts");
/// organization, repository, child, root, the manifest below it that refers to the child
pub(super) const GRANTS: TableDefinition<'_, (&str, &str, Key, Key, Key), ()> = TableDefinition::new("grants");
/// The same, as it was when [`GRANTS`] was full: it is forgotten when that is full again.
pub(super) const GRANTS_BEFORE: TableDefinition<'_, (&str, &str, Key, Key, Key), ()> =
    TableDefinition::new("grants-before");

/// The layout that this version writes and reads. It is raised with whatever an older version would pass over: that one
/// does not open the file any more, as it would not know what was withdrawn (12) which token has expired (13), or that
/// a contract was removed (14).
pub const FORMAT: u64 = 14;
/// The oldest that is taken over. What lies between lacks nothing but tables and fields that may be left out.
pub const OLDEST: u64 = 11;

/// Calls a macro with every table, so that none is forgotten when the file is made or copied.
macro_rules! every_table {
    ($each:ident) => {
        $each!(
            META,
            WRITTEN_BY,
            ORGANIZATIONS,
            TOKENS,
            REVISIONS,
            REMOVED,
            WORKFLOWS,
            RUNS,
            CLAIMS,
            SESSIONS,
            SESSION_MARKS,
            RUNS_BY_TIME,
            RUNS_BY_WORKFLOW,
            ATTESTATIONS,
            BUNDLES,
            FIRST_SEEN,
            WRAPPINGS,
            SUBJECTS,
            ARTIFACTS,
            AUDIT,
            EXEMPTIONS,
            WITHDRAWN,
            DENIALS,
            WITHDRAWALS,
            WITHDRAWN_ABOUT,
            PULLS,
            PULLS_DENIED,
            CLUSTERS,
            CLUSTERS_DENIED,
            VERDICTS,
            GRANTS,
            GRANTS_BEFORE
        )
    };
}
pub(super) use every_table;

/// The lowest and the highest digest.
pub(super) const LOWEST: Key = &[0; 32];
pub(super) const HIGHEST: Key = &[0xff; 32];

/// An instant as a key that sorts as instants do.
pub(super) fn instant(at: Timestamp) -> u64 {
    at.as_microsecond().cast_unsigned() ^ (1 << 63)
}

pub(super) fn encode<T: Serialize>(table: &'static str, record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|e| StoreError::Corrupt { table, reason: e.to_string() })
}

pub(super) fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Corrupt { table, reason: e.to_string() })
}

pub(super) fn digest(key: &[u8; 32]) -> Digest {
    Digest::from_bytes(*key)
}

/// A failed read, as the store tells it.
pub(super) fn unread(error: impl Into<redb::Error>) -> StoreError {
    failed("read", error.into())
}

/// A failed write, as the store tells it.
pub(super) fn unwritten(error: impl Into<redb::Error>) -> StoreError {
    failed("written", error.into())
}

fn failed(doing: &'static str, error: redb::Error) -> StoreError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge) => StoreError::Full,
        other => StoreError::Failed { doing, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_sort_as_they_follow_each_other() {
        let earlier: Timestamp = "1969-12-31T23:59:59Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(instant(earlier) < instant(later));
    }
}
