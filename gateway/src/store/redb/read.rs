//! What the store answers from a read transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;
use contracts::{Digest, Repository, Verdict, VerdictSubject, api::OrganizationSettings, limits};
use redb::{ReadTransaction, ReadableTable};
use serde::de::DeserializeOwned;

use super::{
    audit,
    tables::{
        ARTIFACTS, ATTESTATIONS, AUDIT, BUNDLES, GRANTS, GRANTS_BEFORE, HIGHEST, LOWEST, ORGANIZATIONS, REMOVED,
        REVISIONS, RUNS, RUNS_BY_TIME, RUNS_BY_WORKFLOW, SUBJECTS, SubjectKey, TOKENS, VERDICTS, WORKFLOWS, WRAPPINGS,
        decode, digest, instant, unread,
    },
};
use crate::{
    names::{Name, NameError, WorkflowName},
    store::{
        AttestationFacts, AttestationRecord, AuditEntry, PushedAbout, RevisionRecord, RunPage, RunRecord, StoreError,
        TokenRecord, Via, WorkflowRecord,
    },
};

pub(super) fn settings(tx: &ReadTransaction, organization: &Name) -> Result<OrganizationSettings, StoreError> {
    let table = tx.open_table(ORGANIZATIONS).map_err(unread)?;
    found(table.get(organization.as_str()), "organizations").map(Option::unwrap_or_default)
}

pub(super) fn only_organization(tx: &ReadTransaction) -> Result<Option<Name>, StoreError> {
    let table = tx.open_table(ORGANIZATIONS).map_err(unread)?;
    let mut rows = table.range::<&str>(..).map_err(unread)?;
    let (Some(only), None) = (rows.next(), rows.next()) else { return Ok(None) };
    let (key, _) = only.map_err(unread)?;
    let corrupt = |error: NameError| StoreError::Corrupt { table: "organizations", reason: error.to_string() };
    key.value().parse().map(Some).map_err(corrupt)
}

pub(super) fn tokens(tx: &ReadTransaction, organization: &Name) -> Result<Vec<TokenRecord>, StoreError> {
    let name = organization.as_str();
    let mut tokens = Vec::new();
    for row in tx.open_table(TOKENS).map_err(unread)?.range((name, "")..).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != name {
            break;
        }
        tokens.push(decode::<TokenRecord>("tokens", value.value())?);
    }
    tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(tokens)
}

pub(super) fn revision(
    tx: &ReadTransaction,
    organization: &Name,
    contract: &Name,
    number: Option<u32>,
) -> Result<Option<RevisionRecord>, StoreError> {
    let table = tx.open_table(REVISIONS).map_err(unread)?;
    match number {
        Some(number) => found(table.get((organization.as_str(), contract.as_str(), number)), "revisions"),
        None => standing(&table, &tx.open_table(REMOVED).map_err(unread)?, organization, contract),
    }
}

/// The number of the last revision that was ever applied, also of a contract that was removed.
pub(super) fn last_number(tx: &ReadTransaction, organization: &Name, contract: &Name) -> Result<u32, StoreError> {
    let last = last_revision(&tx.open_table(REVISIONS).map_err(unread)?, organization, contract)?;
    Ok(last.map_or(0, |last| last.number))
}

/// The revision that decides: the last one, unless the contract was removed after it.
pub(super) fn standing(
    revisions: &impl ReadableTable<(&'static str, &'static str, u32), &'static [u8]>,
    removed: &impl ReadableTable<(&'static str, &'static str), u32>,
    organization: &Name,
    contract: &Name,
) -> Result<Option<RevisionRecord>, StoreError> {
    let through = removed.get((organization.as_str(), contract.as_str())).map_err(unread)?.map(|row| row.value());
    let last = last_revision(revisions, organization, contract)?;
    Ok(last.filter(|last| through.is_none_or(|through| through < last.number)))
}

pub(super) fn last_revision(
    table: &impl ReadableTable<(&'static str, &'static str, u32), &'static [u8]>,
    organization: &Name,
    contract: &Name,
) -> Result<Option<RevisionRecord>, StoreError> {
    let (organization, contract) = (organization.as_str(), contract.as_str());
    let mut revisions =
        table.range((organization, contract, 0)..=(organization, contract, u32::MAX)).map_err(unread)?;
    let last = revisions.next_back().transpose().map_err(unread)?;
    last.map(|(_, value)| decode("revisions", value.value())).transpose()
}

pub(super) fn contracts(
    tx: &ReadTransaction,
    organization: &Name,
) -> Result<BTreeMap<Name, RevisionRecord>, StoreError> {
    let (table, removed) = (tx.open_table(REVISIONS).map_err(unread)?, tx.open_table(REMOVED).map_err(unread)?);
    let name = organization.as_str();
    let mut current = BTreeMap::new();
    let mut after: Option<Name> = None;
    loop {
        // One step per contract: from its first revision to its last, then to the next contract.
        let from = match &after {
            None => (name, "", 0),
            Some(contract) => (name, contract.as_str(), u32::MAX),
        };
        let Some(row) = table.range(from..).map_err(unread)?.next() else { break };
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != name {
            break;
        }
        let contract = decode::<RevisionRecord>("revisions", value.value())?.contract;
        if after.as_ref() == Some(&contract) {
            let reason = format!("`{contract}` has no numbers left");
            return Err(StoreError::Corrupt { table: "revisions", reason });
        }
        if let Some(last) = standing(&table, &removed, organization, &contract)? {
            current.insert(contract.clone(), last);
        }
        after = Some(contract);
    }
    Ok(current)
}

pub(super) fn workflow(
    tx: &ReadTransaction,
    organization: &Name,
    name: &WorkflowName,
) -> Result<Option<WorkflowRecord>, StoreError> {
    let table = tx.open_table(WORKFLOWS).map_err(unread)?;
    found(table.get((organization.as_str(), name.to_string().as_str())), "workflows")
}

pub(super) fn workflows(tx: &ReadTransaction, organization: &Name) -> Result<Vec<WorkflowRecord>, StoreError> {
    let name = organization.as_str();
    let mut workflows = Vec::new();
    for row in tx.open_table(WORKFLOWS).map_err(unread)?.range((name, "")..).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != name {
            break;
        }
        workflows.push(decode::<WorkflowRecord>("workflows", value.value())?);
    }
    workflows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(workflows)
}

pub(super) fn run(tx: &ReadTransaction, organization: &Name, id: &str) -> Result<Option<RunRecord>, StoreError> {
    found(tx.open_table(RUNS).map_err(unread)?.get((organization.as_str(), id)), "runs")
}

pub(super) fn runs(
    tx: &ReadTransaction,
    organization: &Name,
    workflow: Option<&WorkflowName>,
    after: Option<&RunRecord>,
    limit: usize,
) -> Result<RunPage, StoreError> {
    let name = organization.as_str();
    let (begin, id) = after.map_or((u64::MAX, ""), |after| (instant(after.started_at), after.id.as_str()));
    // One more than is wanted tells whether there are more.
    let mut ids = Vec::new();
    if let Some(workflow) = workflow {
        let workflow = workflow.to_string();
        let table = tx.open_table(RUNS_BY_WORKFLOW).map_err(unread)?;
        let all = (name, workflow.as_str(), 0, "")..(name, workflow.as_str(), begin, id);
        for row in table.range(all).map_err(unread)?.rev().take(limit.saturating_add(1)) {
            ids.push(row.map_err(unread)?.0.value().3.to_owned());
        }
    } else {
        let table = tx.open_table(RUNS_BY_TIME).map_err(unread)?;
        for row in table.range((name, 0, "")..(name, begin, id)).map_err(unread)?.rev().take(limit.saturating_add(1)) {
            ids.push(row.map_err(unread)?.0.value().2.to_owned());
        }
    }
    let table = tx.open_table(RUNS).map_err(unread)?;
    let (mut runs, mut bytes) = (Vec::new(), 0_usize);
    for id in ids {
        let row = table.get((name, id.as_str())).map_err(unread)?.ok_or_else(|| missing("runs", &id))?;
        bytes = bytes.saturating_add(row.value().len());
        if runs.len() == limit || (bytes > limits::LISTED_BYTES && !runs.is_empty()) {
            return Ok(RunPage { runs, more: true });
        }
        runs.push(decode("runs", row.value())?);
    }
    Ok(RunPage { runs, more: false })
}

pub(super) fn audit_log(
    tx: &ReadTransaction,
    organization: &Name,
    from: u64,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    let table = tx.open_table(AUDIT).map_err(unread)?;
    let name = organization.as_str();
    let mut before = match from.checked_sub(1).filter(|n| *n > 0) {
        Some(number) => table.get((name, number)).map_err(unread)?.map(|entry| Digest::of(entry.value())),
        None => None,
    };
    let (mut entries, mut bytes) = (Vec::<AuditEntry>::new(), 0_usize);
    for row in table.range((name, from)..=(name, u64::MAX)).map_err(unread)?.take(limit) {
        let (key, value) = row.map_err(unread)?;
        bytes = bytes.saturating_add(value.value().len());
        if bytes > limits::LISTED_BYTES && !entries.is_empty() {
            break;
        }
        let entry = audit::read(key.value().1, value.value(), before)?;
        before = Some(entry.digest);
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn attestation(
    tx: &ReadTransaction,
    organization: &Name,
    id: Digest,
) -> Result<Option<AttestationRecord>, StoreError> {
    let Some(facts) = attestation_facts(tx, organization, id)? else { return Ok(None) };
    let bundles = tx.open_table(BUNDLES).map_err(unread)?;
    let bundle = bundles.get((organization.as_str(), id.as_bytes())).map_err(unread)?;
    let bundle = Bytes::copy_from_slice(bundle.ok_or_else(|| missing("bundles", &id.to_string()))?.value());
    if Digest::of(&bundle) != id {
        return Err(StoreError::Corrupt { table: "bundles", reason: format!("the bytes of `{id}` are damaged") });
    }
    Ok(Some(AttestationRecord { facts, bundle }))
}

pub(super) fn attestation_facts(
    tx: &ReadTransaction,
    organization: &Name,
    id: Digest,
) -> Result<Option<AttestationFacts>, StoreError> {
    found(tx.open_table(ATTESTATIONS).map_err(unread)?.get((organization.as_str(), id.as_bytes())), "attestations")
}

pub(super) fn wrapping(
    tx: &ReadTransaction,
    organization: &Name,
    signed: Digest,
    speaks_for: Digest,
) -> Result<Option<Digest>, StoreError> {
    let table = tx.open_table(WRAPPINGS).map_err(unread)?;
    let known = table.get((organization.as_str(), signed.as_bytes(), speaks_for.as_bytes())).map_err(unread)?;
    Ok(known.map(|id| digest(id.value())))
}

pub(super) fn pushed_about(
    tx: &ReadTransaction,
    organization: &Name,
    subject: &VerdictSubject,
) -> Result<PushedAbout, StoreError> {
    let of_kind = match subject {
        VerdictSubject::Image(_) => SUBJECTS,
        VerdictSubject::Artifact(_) => ARTIFACTS,
    };
    let table = tx.open_table(of_kind).map_err(unread)?;
    let (name, subject) = (organization.as_str(), subject.digest().as_bytes());
    let mut about = PushedAbout { newest: Vec::new(), complete: true };
    let mut after: Option<(String, String)> = None;
    for examined in 0_usize.. {
        // One step for each workflow under each contract: past all that it pushed, to the next.
        let from = match &after {
            None => Bound::Included((name, subject, "", "", 0, 0, LOWEST)),
            Some((contract, workflow)) => {
                Bound::Excluded((name, subject, contract.as_str(), workflow.as_str(), u64::MAX, u8::MAX, HIGHEST))
            }
        };
        let Some(row) = table.range((from, Bound::Unbounded)).map_err(unread)?.next() else { break };
        let key = row.map_err(unread)?.0;
        let (of, about_subject, contract, workflow, ..) = key.value();
        if of != name || about_subject != subject {
            break;
        }
        if examined == limits::WORKFLOWS_PER_SUBJECT {
            about.complete = false;
            break;
        }
        for id in newest(&table, (name, subject, contract, workflow))? {
            let facts = attestation_facts(tx, organization, id)?;
            about.newest.push(facts.ok_or_else(|| missing("attestations", &id.to_string()))?);
        }
        after = Some((contract.to_owned(), workflow.to_owned()));
    }
    Ok(about)
}

pub(super) fn anything_pushed_about(
    tx: &ReadTransaction,
    organization: &Name,
    image: Digest,
) -> Result<bool, StoreError> {
    let (name, image) = (organization.as_str(), image.as_bytes());
    let table = tx.open_table(SUBJECTS).map_err(unread)?;
    let first = table.range((name, image, "", "", 0, 0, LOWEST)..).map_err(unread)?.next().transpose();
    Ok(first.map_err(unread)?.is_some_and(|(key, _)| {
        let (of, about, ..) = key.value();
        of == name && about == image
    }))
}

/// The newest that a workflow pushed under a contract about a subject; those of its instant, rejected ones first.
fn newest(
    table: &impl ReadableTable<SubjectKey<'static>, ()>,
    (name, subject, contract, workflow): (&str, &[u8; 32], &str, &str),
) -> Result<Vec<Digest>, StoreError> {
    let lowest = |at| (name, subject, contract, workflow, at, 0, LOWEST);
    let highest = |at| (name, subject, contract, workflow, at, u8::MAX, HIGHEST);
    let last = table.range(lowest(0)..=highest(u64::MAX)).map_err(unread)?.next_back();
    let Some(last) = last.transpose().map_err(unread)? else { return Ok(Vec::new()) };
    let at = last.0.value().4;
    let mut ids = Vec::new();
    for row in table.range(lowest(at)..=highest(at)).map_err(unread)?.rev().take(limits::RUNS_OF_ONE_INSTANT) {
        ids.push(digest(row.map_err(unread)?.0.value().6));
    }
    Ok(ids)
}

pub(super) fn verdict(tx: &ReadTransaction, organization: &Name, key: Digest) -> Result<Option<Verdict>, StoreError> {
    let table = tx.open_table(VERDICTS).map_err(unread)?;
    match found(table.get((organization.as_str(), key.as_bytes())), "verdicts") {
        // One of another version: it is computed again.
        Err(StoreError::Corrupt { .. }) => Ok(None),
        other => other,
    }
}

pub(super) fn ways(
    tx: &ReadTransaction,
    organization: &Name,
    repository: &Repository,
    child: Digest,
) -> Result<Vec<Via>, StoreError> {
    let (name, repository, child) = (organization.as_str(), repository.to_string(), child.as_bytes());
    let lowest = (name, repository.as_str(), child, LOWEST, LOWEST);
    let highest = (name, repository.as_str(), child, HIGHEST, HIGHEST);
    let mut ways = BTreeSet::new();
    for table in [GRANTS, GRANTS_BEFORE] {
        for row in tx.open_table(table).map_err(unread)?.range(lowest..=highest).map_err(unread)? {
            let key = row.map_err(unread)?.0;
            let (_, _, _, root, parent) = key.value();
            ways.insert(Via { root: digest(root), parent: digest(parent) });
        }
    }
    Ok(ways.into_iter().collect())
}

/// Reads a record that a table was asked for.
pub(super) fn found<T: DeserializeOwned>(
    row: Result<Option<redb::AccessGuard<'_, &'static [u8]>>, redb::StorageError>,
    table: &'static str,
) -> Result<Option<T>, StoreError> {
    row.map_err(unread)?.map(|value| decode(table, value.value())).transpose()
}

pub(super) fn missing(table: &'static str, what: &str) -> StoreError {
    StoreError::Corrupt { table, reason: format!("`{what}` is named elsewhere but is not there") }
}
