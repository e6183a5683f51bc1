//! What the store does in a write transaction. Each function decides by what it reads before it writes.

use contracts::{
    Digest, Repository, Verdict,
    api::{EndRun, OrganizationSettings, RevisionFiles, Role, RunOutcome, RunState},
};
use jiff::Timestamp;
use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde_json::json;

use super::{
    audit,
    claims::{self, Claim},
    content,
    memory::Effect,
    read::{found, last_revision, standing},
    sessions,
    tables::{
        ATTESTATIONS, BUNDLES, GRANTS, GRANTS_BEFORE, ORGANIZATIONS, REMOVED, REVISIONS, RUNS, RUNS_BY_TIME,
        RUNS_BY_WORKFLOW, TOKENS, VERDICTS, WORKFLOWS, decode, encode, instant, unread, unwritten,
    },
    withdrawals,
    writer::Done,
};
use crate::{
    names::Name,
    store::{
        AttestationFacts, AttestationRecord, By, Discovery, Ending, Grant, Receipt, Removal, RevisionRecord,
        Revocation, RunRecord, Source, StoreError, TokenRecord, WorkflowRecord,
    },
};

type Written<T> = Result<Done<T>, StoreError>;

/// Verdicts kept on the disk. Beyond it they are all forgotten and computed again.
const VERDICTS_KEPT: u64 = 200_000;

/// Grants kept on the disk, and as many that were kept before them. Then those before are forgotten: whoever pulls asks for
/// the image again, which grants its parts anew.
pub(super) const GRANTS_KEPT: u64 = 500_000;

pub(super) fn create_organization(
    tx: &WriteTransaction,
    organization: &Name,
    token: &TokenRecord,
    by: &By,
) -> Written<bool> {
    let mut table = tx.open_table(ORGANIZATIONS).map_err(unwritten)?;
    if table.get(organization.as_str()).map_err(unread)?.is_some() {
        return Ok(Done::unchanged(false));
    }
    let settings = encode("organizations", &OrganizationSettings::default())?;
    table.insert(organization.as_str(), settings.as_slice()).map_err(unwritten)?;
    audit::append(tx, organization, "organization-created", json!({"by": by.who}), by.at)?;
    let Done { mut effects, .. } = add_token(tx, token, by)?;
    effects.push(Effect::Rules(organization.clone()));
    Ok(Done { answer: true, effects })
}

pub(super) fn put_settings(
    tx: &WriteTransaction,
    organization: &Name,
    settings: &OrganizationSettings,
    by: &By,
) -> Written<()> {
    let bytes = encode("organizations", settings)?;
    let mut table = tx.open_table(ORGANIZATIONS).map_err(unwritten)?;
    table.insert(organization.as_str(), bytes.as_slice()).map_err(unwritten)?;
    let detail = json!({"by": by.who, "settings": settings});
    audit::append(tx, organization, "settings-changed", detail, by.at)?;
    Ok(Done { answer: (), effects: vec![Effect::Rules(organization.clone())] })
}

pub(super) fn add_token(tx: &WriteTransaction, token: &TokenRecord, by: &By) -> Written<()> {
    let mut table = tx.open_table(TOKENS).map_err(unwritten)?;
    let key = (token.organization.as_str(), token.id.as_str());
    if table.get(key).map_err(unread)?.is_some() {
        let reason = format!("there is a token `{}` already", token.id);
        return Err(StoreError::Failed { doing: "written", reason });
    }
    table.insert(key, encode("tokens", token)?.as_slice()).map_err(unwritten)?;
    let workflow = token.workflow.as_ref().map(ToString::to_string);
    let detail = json!({
        "by": by.who, "token": token.id, "name": token.name, "role": token.role, "workflow": workflow,
        "operator": token.operator, "expires_at": token.expires_at,
    });
    audit::append(tx, &token.organization, "token-created", detail, by.at)?;
    Ok(Done { answer: (), effects: vec![Effect::Token(token.clone())] })
}

pub(super) fn revoke_token(tx: &WriteTransaction, organization: &Name, id: &str, by: &By) -> Written<Revocation> {
    let mut table = tx.open_table(TOKENS).map_err(unwritten)?;
    let key = (organization.as_str(), id);
    let known: Option<TokenRecord> = found(table.get(key), "tokens")?;
    let Some(known) = known else { return Ok(Done::unchanged(Revocation::Unknown)) };
    if known.revoked_at.is_some() {
        return Ok(Done::unchanged(Revocation::Revoked(Box::new(known))));
    }
    if known.role == Role::Admin && !another(&table, organization, id, |token| token.role == Role::Admin)? {
        return Ok(Done::unchanged(Revocation::LastAdmin));
    }
    // Those that an operator makes are of the same organization, so that no other has to be looked through.
    if known.operator && !another(&table, organization, id, |token| token.operator)? {
        return Ok(Done::unchanged(Revocation::LastOperator));
    }
    let revoked = TokenRecord { revoked_at: Some(by.at), ..known };
    table.insert(key, encode("tokens", &revoked)?.as_slice()).map_err(unwritten)?;
    let detail = json!({"by": by.who, "token": id, "name": revoked.name});
    audit::append(tx, organization, "token-revoked", detail, by.at)?;
    let answer = Revocation::Revoked(Box::new(revoked.clone()));
    Ok(Done { answer, effects: vec![Effect::Token(revoked)] })
}

/// Notes when a token was last used.
pub(super) fn token_used(tx: &WriteTransaction, organization: &Name, id: &str, used: Timestamp) -> Written<()> {
    let mut table = tx.open_table(TOKENS).map_err(unwritten)?;
    let key = (organization.as_str(), id);
    let known: Option<TokenRecord> = found(table.get(key), "tokens")?;
    let Some(known) = known.filter(|known| known.last_used_at.is_none_or(|last| last < used)) else {
        return Ok(Done::unchanged(()));
    };
    let token = TokenRecord { last_used_at: Some(used), ..known };
    table.insert(key, encode("tokens", &token)?.as_slice()).map_err(unwritten)?;
    Ok(Done { answer: (), effects: vec![Effect::Token(token)] })
}

/// Whether the organization has a token of this kind beside this one that is good until somebody revokes it. One that
/// expires does not count: the day would come when there is none.
fn another(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    organization: &Name,
    id: &str,
    kind: impl Fn(&TokenRecord) -> bool,
) -> Result<bool, StoreError> {
    for row in table.range((organization.as_str(), "")..).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != organization.as_str() {
            break;
        }
        let token: TokenRecord = decode("tokens", value.value())?;
        if token.id != id && kind(&token) && token.lasts() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn apply_revision(
    tx: &WriteTransaction,
    organization: &Name,
    contract: &Name,
    digest: Digest,
    files: &RevisionFiles,
    by: &By,
) -> Written<(RevisionRecord, bool)> {
    let mut table = tx.open_table(REVISIONS).map_err(unwritten)?;
    let current = standing(&table, &tx.open_table(REMOVED).map_err(unwritten)?, organization, contract)?;
    if let Some(current) = current.filter(|current| current.digest == digest) {
        return Ok(Done::unchanged((current, false)));
    }
    // Numbers go on also when the contract was removed: no two revisions ever have the same name and number.
    let last = last_revision(&table, organization, contract)?;
    let number = last.map_or(0, |last| last.number).saturating_add(1);
    let revision =
        RevisionRecord { contract: contract.clone(), number, digest, files: files.clone(), applied_at: by.at };
    let key = (organization.as_str(), contract.as_str(), number);
    table.insert(key, encode("revisions", &revision)?.as_slice()).map_err(unwritten)?;
    let detail = json!({"by": by.who, "contract": contract, "revision": number, "digest": digest});
    audit::append(tx, organization, "contract-applied", detail, by.at)?;
    Ok(Done { answer: (revision, true), effects: vec![Effect::Rules(organization.clone())] })
}

/// Removes a contract, when this is its current revision. The revisions stay.
pub(super) fn remove_contract(
    tx: &WriteTransaction,
    organization: &Name,
    contract: &Name,
    number: u32,
    by: &By,
) -> Written<Removal> {
    let mut removed = tx.open_table(REMOVED).map_err(unwritten)?;
    let current = standing(&tx.open_table(REVISIONS).map_err(unwritten)?, &removed, organization, contract)?;
    let Some(current) = current else { return Ok(Done::unchanged(Removal::Unknown)) };
    if current.number != number {
        return Ok(Done::unchanged(Removal::Changed(current.number)));
    }
    removed.insert((organization.as_str(), contract.as_str()), number).map_err(unwritten)?;
    let detail = json!({"by": by.who, "contract": contract, "revision": number, "digest": current.digest});
    audit::append(tx, organization, "contract-removed", detail, by.at)?;
    Ok(Done { answer: Removal::Removed, effects: vec![Effect::Rules(organization.clone())] })
}

pub(super) fn put_workflow(
    tx: &WriteTransaction,
    organization: &Name,
    workflow: &WorkflowRecord,
    by: &By,
) -> Written<()> {
    let mut table = tx.open_table(WORKFLOWS).map_err(unwritten)?;
    let name = workflow.name.to_string();
    let key = (organization.as_str(), name.as_str());
    let known: Option<WorkflowRecord> = found(table.get(key), "workflows")?;
    let event = if known.is_some() { "workflow-changed" } else { "workflow-created" };
    let created_at = known.map_or(workflow.created_at, |k| k.created_at);
    let record = WorkflowRecord { created_at, ..workflow.clone() };
    table.insert(key, encode("workflows", &record)?.as_slice()).map_err(unwritten)?;
    let detail = json!({"by": by.who, "workflow": name, "team": record.team, "contract": record.contract});
    audit::append(tx, organization, event, detail, by.at)?;
    Ok(Done { answer: (), effects: vec![Effect::Rules(organization.clone())] })
}

pub(super) fn start_run(tx: &WriteTransaction, organization: &Name, run: &RunRecord, by: &By) -> Written<bool> {
    let claimed = claims::known_to_write(tx, organization, &run.id)?;
    let others = claimed.is_some_and(|claim| claim.workflow != run.workflow);
    if others || known_run(tx, organization, &run.id)?.is_some() {
        return Ok(Done::unchanged(false));
    }
    put_run(tx, organization, run)?;
    let detail = json!({"by": by.who, "run": run.id, "workflow": run.workflow.to_string()});
    audit::append(tx, organization, "run-started", detail, by.at)?;
    Ok(Done::unchanged(true))
}

pub(super) fn end_run(
    tx: &WriteTransaction,
    organization: &Name,
    id: &str,
    EndRun { outcome, reason }: &EndRun,
    by: &By,
) -> Written<Ending> {
    let Some(run) = known_run(tx, organization, id)? else { return Ok(Done::unchanged(Ending::Unknown)) };
    if run.attestation.is_some() {
        return Ok(Done::unchanged(Ending::Attested));
    }
    if run.state.ended() {
        return Ok(Done::unchanged(Ending::Ended(Box::new(run))));
    }
    let (state, event) = match outcome {
        RunOutcome::Failed => (RunState::Failed, "run-failed"),
        RunOutcome::Cancelled => (RunState::Cancelled, "run-cancelled"),
    };
    let run = RunRecord { state, reason: reason.clone(), ..run };
    put_run(tx, organization, &run)?;
    sessions::end(tx, organization, id)?;
    let detail = json!({"by": by.who, "run": id, "workflow": run.workflow.to_string(), "reason": reason});
    audit::append(tx, organization, event, detail, by.at)?;
    Ok(Done::unchanged(Ending::Ended(Box::new(run))))
}

pub(super) fn receive(
    tx: &WriteTransaction,
    organization: &Name,
    attestation: &AttestationRecord,
    run: &RunRecord,
) -> Written<Receipt> {
    let facts = &attestation.facts;
    let known = known_attestation(tx, organization, facts.id)?;
    if let Some(AttestationFacts { source: Source::Pushed { run: first, .. }, .. }) = &known {
        let first = known_run(tx, organization, first)?.ok_or_else(|| StoreError::Corrupt {
            table: "runs",
            reason: format!("the run `{first}` of an attestation is not there"),
        })?;
        return Ok(Done::unchanged(Receipt::Same(Box::new(first))));
    }
    if let Some(record) = withdrawals::of(tx, organization, facts.signed)? {
        return Ok(Done::unchanged(Receipt::Withdrawn(Box::new(record.withdrawn))));
    }
    let begun = known_run(tx, organization, &run.id)?;
    if begun.as_ref().is_some_and(|b| b.workflow != run.workflow || b.attestation.is_some()) {
        return Ok(Done::unchanged(Receipt::RunUsed));
    }
    if begun.as_ref().is_some_and(|b| b.state.ended()) {
        return Ok(Done::unchanged(Receipt::RunEnded));
    }
    let claim = Claim { workflow: run.workflow.clone(), signed: facts.signed };
    let claimed = claims::known_to_write(tx, organization, &run.id)?;
    if claimed.as_ref().is_some_and(|known| *known != claim) {
        return Ok(Done::unchanged(Receipt::RunUsed));
    }
    let run = match begun {
        Some(RunRecord { started_at, version, url, .. }) => RunRecord { started_at, version, url, ..run.clone() },
        None => run.clone(),
    };
    let effects = put_attestation(tx, organization, attestation)?;
    put_run(tx, organization, &run)?;
    sessions::end(tx, organization, &run.id)?;
    if claimed.is_none() {
        claims::put(tx, organization, &run.id, &claim)?;
    }
    let event = match run.state {
        RunState::Accepted => "attestation-accepted",
        RunState::Started | RunState::Rejected | RunState::Failed | RunState::Cancelled | RunState::Withdrawn => {
            "attestation-rejected"
        }
    };
    let detail = json!({
        "attestation": facts.id, "run": run.id, "workflow": run.workflow.to_string(), "revision": run.revision,
        "subjects": facts.subjects, "findings": run.findings.iter().map(|f| f.code).collect::<Vec<_>>(),
    });
    audit::append(tx, organization, event, detail, run.received_at.unwrap_or(facts.received_at))?;
    Ok(Done { answer: Receipt::Stored, effects })
}

pub(super) fn discovered(tx: &WriteTransaction, organization: &Name, found: &[Discovery]) -> Written<Vec<Digest>> {
    let (mut ids, mut effects) = (Vec::with_capacity(found.len()), Vec::new());
    for Discovery { record, speaks_for } in found {
        let facts = &record.facts;
        if let Some(first) = content::first_wrapping(tx, organization, facts, speaks_for)? {
            // It is not kept, but what it proves is.
            effects.extend(content::seen(tx, organization, facts)?.1);
            ids.push(first);
            continue;
        }
        ids.push(facts.id);
        if known_attestation(tx, organization, facts.id)?.is_some() {
            effects.extend(content::seen(tx, organization, facts)?.1);
            continue;
        }
        effects.extend(put_attestation(tx, organization, record)?);
        let detail = json!({"attestation": facts.id, "source": facts.source, "subjects": facts.subjects});
        audit::append(tx, organization, "attestation-discovered", detail, facts.received_at)?;
    }
    Ok(Done { answer: ids, effects })
}

pub(super) fn put_verdict(tx: &WriteTransaction, organization: &Name, key: Digest, verdict: &Verdict) -> Written<()> {
    let bytes = encode("verdicts", verdict)?;
    if tx.open_table(VERDICTS).map_err(unwritten)?.len().map_err(unread)? >= VERDICTS_KEPT {
        tx.delete_table(VERDICTS).map_err(unwritten)?;
    }
    let mut table = tx.open_table(VERDICTS).map_err(unwritten)?;
    table.insert((organization.as_str(), key.as_bytes()), bytes.as_slice()).map_err(unwritten)?;
    Ok(Done::unchanged(()))
}

pub(super) fn put_grants(
    tx: &WriteTransaction,
    organization: &Name,
    repository: &Repository,
    grants: &[Grant],
    kept: u64,
) -> Written<()> {
    let mut effects = Vec::new();
    if tx.open_table(GRANTS).map_err(unwritten)?.len().map_err(unread)? >= kept {
        tx.delete_table(GRANTS_BEFORE).map_err(unwritten)?;
        tx.rename_table(GRANTS, GRANTS_BEFORE).map_err(unwritten)?;
        effects.push(Effect::Grants);
    }
    let mut table = tx.open_table(GRANTS).map_err(unwritten)?;
    let repository = repository.to_string();
    for Grant { via, child } in grants {
        let (root, parent) = (via.root.as_bytes(), via.parent.as_bytes());
        let key = (organization.as_str(), repository.as_str(), child.as_bytes(), root, parent);
        table.insert(key, ()).map_err(unwritten)?;
    }
    Ok(Done { answer: (), effects })
}

pub(super) fn known_run(tx: &WriteTransaction, organization: &Name, id: &str) -> Result<Option<RunRecord>, StoreError> {
    found(tx.open_table(RUNS).map_err(unwritten)?.get((organization.as_str(), id)), "runs")
}

fn known_attestation(
    tx: &WriteTransaction,
    organization: &Name,
    id: Digest,
) -> Result<Option<AttestationFacts>, StoreError> {
    let table = tx.open_table(ATTESTATIONS).map_err(unwritten)?;
    found(table.get((organization.as_str(), id.as_bytes())), "attestations")
}

/// Writes a run and its places in the lists. A run that is there keeps its begin, so its places do not change.
pub(super) fn put_run(tx: &WriteTransaction, organization: &Name, run: &RunRecord) -> Result<(), StoreError> {
    let (name, id, begin) = (organization.as_str(), run.id.as_str(), instant(run.started_at));
    let bytes = encode("runs", run)?;
    tx.open_table(RUNS).map_err(unwritten)?.insert((name, id), bytes.as_slice()).map_err(unwritten)?;
    tx.open_table(RUNS_BY_TIME).map_err(unwritten)?.insert((name, begin, id), ()).map_err(unwritten)?;
    let workflow = run.workflow.to_string();
    let mut table = tx.open_table(RUNS_BY_WORKFLOW).map_err(unwritten)?;
    table.insert((name, workflow.as_str(), begin, id), ()).map_err(unwritten)?;
    Ok(())
}

fn put_attestation(
    tx: &WriteTransaction,
    organization: &Name,
    AttestationRecord { facts, bundle }: &AttestationRecord,
) -> Result<Vec<Effect>, StoreError> {
    let (first, mut effects) = content::seen(tx, organization, facts)?;
    let withdrawn = withdrawals::of(tx, organization, facts.signed)?.map(|record| Box::new(record.withdrawn));
    let content::FirstSeen { received_at, signed_at, .. } = first;
    let facts = &AttestationFacts { received_at, signed_at, withdrawn, ..facts.clone() };
    let key = (organization.as_str(), facts.id.as_bytes());
    let bytes = encode("attestations", facts)?;
    tx.open_table(ATTESTATIONS).map_err(unwritten)?.insert(key, bytes.as_slice()).map_err(unwritten)?;
    tx.open_table(BUNDLES).map_err(unwritten)?.insert(key, bundle.as_ref()).map_err(unwritten)?;
    content::index(tx, organization, facts)?;
    // Also those that it names and was not made for: found beside them, it counted until it was pushed.
    effects.extend(facts.subjects.iter().map(|subject| Effect::Evidence(organization.clone(), *subject)));
    Ok(effects)
}
