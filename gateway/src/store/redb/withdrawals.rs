//! Attestations that operators withdrew. What is withdrawn is told by what was signed; all that is stored of it is
//! marked, and what comes later is marked when it comes ([`content`]).

use contracts::{Digest, api::Withdrawn, limits};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde_json::json;

use super::{
    audit, claims, content,
    memory::Effect,
    read::{attestation_facts, found, missing},
    tables::{ATTESTATIONS, HIGHEST, LOWEST, WITHDRAWALS, WITHDRAWN_ABOUT, decode, digest, encode, unread, unwritten},
    write::{known_run, put_run},
    writer::Done,
};
use crate::{
    names::Name,
    store::{AttestationFacts, AttestationName, By, RunRecord, Source, StoreError, WithdrawalRecord, Withdrawing},
};

/// All of an organization, by what was signed.
pub(super) fn all(tx: &ReadTransaction, organization: &Name) -> Result<Vec<WithdrawalRecord>, StoreError> {
    let name = organization.as_str();
    let mut records = Vec::new();
    for row in tx.open_table(WITHDRAWALS).map_err(unread)?.range((name, LOWEST)..=(name, HIGHEST)).map_err(unread)? {
        records.push(decode("withdrawn-attestations", row.map_err(unread)?.1.value())?);
    }
    Ok(records)
}

/// What was withdrawn and names a subject, but for what was pushed, by id. An admin named each content, and of one there
/// are only so many wrappings, so there is no other bound.
pub(super) fn about(
    tx: &ReadTransaction,
    organization: &Name,
    subject: Digest,
) -> Result<Vec<AttestationFacts>, StoreError> {
    let (name, subject) = (organization.as_str(), subject.as_bytes());
    let table = tx.open_table(WITHDRAWN_ABOUT).map_err(unread)?;
    let mut about = Vec::new();
    for row in table.range((name, subject, LOWEST)..=(name, subject, HIGHEST)).map_err(unread)? {
        let id = digest(row.map_err(unread)?.0.value().2);
        let facts = attestation_facts(tx, organization, id)?;
        about.push(facts.ok_or_else(|| missing("attestations", &id.to_string()))?);
    }
    Ok(about)
}

/// The withdrawal of signed content.
pub(super) fn of(
    tx: &WriteTransaction,
    organization: &Name,
    signed: Digest,
) -> Result<Option<WithdrawalRecord>, StoreError> {
    let table = tx.open_table(WITHDRAWALS).map_err(unwritten)?;
    found(table.get((organization.as_str(), signed.as_bytes())), "withdrawn-attestations")
}

pub(super) fn withdraw(
    tx: &WriteTransaction,
    organization: &Name,
    name: &AttestationName,
    withdrawn: &Withdrawn,
    by: &By,
) -> Result<Done<Withdrawing>, StoreError> {
    let Some(facts) = named(tx, organization, name)? else { return Ok(Done::unchanged(Withdrawing::Unknown)) };
    let before = of(tx, organization, facts.signed)?;
    let (run, workflow) = match &facts.source {
        Source::Pushed { run, workflow, .. } => (Some(run.clone()), Some(workflow.clone())),
        Source::Discovered { .. } | Source::Material => (None, None),
    };
    let record =
        WithdrawalRecord { attestation: facts.id, signed: facts.signed, run, workflow, withdrawn: withdrawn.clone() };
    {
        let mut table = tx.open_table(WITHDRAWALS).map_err(unwritten)?;
        let of_all = (organization.as_str(), LOWEST)..=(organization.as_str(), HIGHEST);
        if before.is_none() && table.range(of_all).map_err(unread)?.count() >= limits::WITHDRAWALS {
            return Ok(Done::unchanged(Withdrawing::TooMany));
        }
        let key = (organization.as_str(), facts.signed.as_bytes());
        table.insert(key, encode("withdrawn-attestations", &record)?.as_slice()).map_err(unwritten)?;
    }
    let effects = mark(tx, organization, facts.signed, Some(withdrawn))?;
    let mut detail = told(&record, by);
    if let Some(fields) = detail.as_object_mut() {
        fields.insert("reason".to_owned(), json!(withdrawn.reason));
        fields.extend(before.as_ref().map(|before| ("replaces".to_owned(), json!(before.withdrawn))));
    }
    audit::append(tx, organization, "attestation-withdrawn", detail, by.at)?;
    let record = Box::new(record);
    let answer = if before.is_some() { Withdrawing::Replaced(record) } else { Withdrawing::New(record) };
    Ok(Done { answer, effects })
}

pub(super) fn restore(
    tx: &WriteTransaction,
    organization: &Name,
    name: &AttestationName,
    by: &By,
) -> Result<Done<Option<WithdrawalRecord>>, StoreError> {
    let Some(facts) = named(tx, organization, name)? else { return Ok(Done::unchanged(None)) };
    let Some(record) = of(tx, organization, facts.signed)? else { return Ok(Done::unchanged(None)) };
    let key = (organization.as_str(), facts.signed.as_bytes());
    tx.open_table(WITHDRAWALS).map_err(unwritten)?.remove(key).map_err(unwritten)?;
    let effects = mark(tx, organization, facts.signed, None)?;
    let mut detail = told(&record, by);
    if let Some(fields) = detail.as_object_mut() {
        fields.insert("withdrawn".to_owned(), json!(record.withdrawn));
    }
    audit::append(tx, organization, "attestation-restored", detail, by.at)?;
    Ok(Done { answer: Some(record), effects })
}

fn told(record: &WithdrawalRecord, by: &By) -> serde_json::Value {
    let workflow = record.workflow.as_ref().map(ToString::to_string);
    let WithdrawalRecord { attestation, signed, run, .. } = record;
    json!({"by": by.who, "attestation": attestation, "signed": signed, "run": run, "workflow": workflow})
}

/// The stored attestation that a name means. A run's is the one that was pushed for it, else one that was found beside
/// an image and has claimed it.
fn named(
    tx: &WriteTransaction,
    organization: &Name,
    name: &AttestationName,
) -> Result<Option<AttestationFacts>, StoreError> {
    let id = match name {
        AttestationName::Id(id) => Some(*id),
        AttestationName::Run(run) => match known_run(tx, organization, run)?.and_then(|run| run.attestation) {
            Some(id) => Some(id),
            None => match claims::known_to_write(tx, organization, run)? {
                Some(claim) => content::carriers(tx, organization, claim.signed)?.first().copied(),
                None => None,
            },
        },
    };
    let Some(id) = id else { return Ok(None) };
    let table = tx.open_table(ATTESTATIONS).map_err(unwritten)?;
    found(table.get((organization.as_str(), id.as_bytes())), "attestations")
}

/// Marks all that is stored of signed content as withdrawn, or as not withdrawn any more, and the run that it was
/// pushed for.
fn mark(
    tx: &WriteTransaction,
    organization: &Name,
    signed: Digest,
    withdrawn: Option<&Withdrawn>,
) -> Result<Vec<Effect>, StoreError> {
    let withdrawn = withdrawn.cloned().map(Box::new);
    let mut effects = Vec::new();
    for carrier in content::carriers(tx, organization, signed)? {
        let marked = |known: AttestationFacts| AttestationFacts { withdrawn: withdrawn.clone(), ..known };
        let Some((facts, raised)) = content::change(tx, organization, carrier, marked)? else { continue };
        effects.extend(raised);
        if let Source::Pushed { run, .. } = &facts.source
            && let Some(run) = known_run(tx, organization, run)?
        {
            put_run(tx, organization, &RunRecord { withdrawn: withdrawn.clone(), ..run })?;
        }
    }
    Ok(effects)
}
