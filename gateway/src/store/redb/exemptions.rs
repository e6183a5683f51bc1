//! Exemptions, and the digests of those that do not come back.

use contracts::limits;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde_json::json;

use super::{
    audit,
    memory::Effect,
    read::found,
    tables::{EXEMPTIONS, WITHDRAWN, decode, encode, instant, unread, unwritten},
    writer::Done,
};
use crate::{
    names::Name,
    store::{By, ExemptionBody, ExemptionPut, ExemptionRecord, StoreError},
};

/// All of an organization, by name.
pub(super) fn all(tx: &ReadTransaction, organization: &Name) -> Result<Vec<ExemptionRecord>, StoreError> {
    rows(&tx.open_table(EXEMPTIONS).map_err(unread)?, organization)
}

pub(super) fn put(
    tx: &WriteTransaction,
    organization: &Name,
    record: &ExemptionRecord,
    by: &By,
) -> Result<Done<ExemptionPut>, StoreError> {
    let mut table = tx.open_table(EXEMPTIONS).map_err(unwritten)?;
    let mut withdrawn = tx.open_table(WITHDRAWN).map_err(unwritten)?;
    if withdrawn.get((organization.as_str(), record.digest.as_bytes())).map_err(unread)?.is_some() {
        return Ok(Done::unchanged(ExemptionPut::Withdrawn));
    }
    let known = rows(&table, organization)?;
    let before = known.iter().find(|other| other.name == record.name);
    let same = before.filter(|before| before.digest == record.digest);
    if same.is_some_and(|same| same.body == record.body) {
        return Ok(Done::unchanged(ExemptionPut::Same));
    }
    let (mut of_kind, mut of_workflow) = (0_usize, 0_usize);
    for other in &known {
        let key = (organization.as_str(), other.name.as_str());
        let end = other.withdrawn_at.map_or(other.until, |withdrawn| withdrawn.min(other.until));
        if end.saturating_add(limits::EXEMPTION_KEPT).is_ok_and(|forgotten| forgotten <= by.at) {
            table.remove(key).map_err(unwritten)?;
        } else if other.withdrawn_at.is_some() || other.ended || other.name == record.name {
            // It takes no place.
        } else if other.until <= by.at {
            // Whoever reads what counts need not look at it again.
            let ended = ExemptionRecord { ended: true, ..other.clone() };
            table.insert(key, encode("exemptions", &ended)?.as_slice()).map_err(unwritten)?;
        } else if workflow(other).is_some() == workflow(record).is_some() {
            of_kind = of_kind.saturating_add(1);
            of_workflow = of_workflow.saturating_add(usize::from(workflow(other) == workflow(record)));
        }
    }
    let crowded = workflow(record).is_some() && of_workflow >= limits::EMERGENCIES_PER_WORKFLOW;
    if crowded || of_kind >= limits::EXEMPTIONS {
        // Nothing is changed: the transaction is that of many, so what was written above stays, and says the truth.
        return Ok(Done::unchanged(ExemptionPut::TooMany));
    }
    if let Some(replaced) = before.filter(|before| before.digest != record.digest) {
        let key = (organization.as_str(), replaced.digest.as_bytes());
        withdrawn.insert(key, instant(by.at)).map_err(unwritten)?;
    }
    let applied_at = same.map_or(record.applied_at, |same| same.applied_at);
    let stored = ExemptionRecord { applied_at, ..record.clone() };
    let key = (organization.as_str(), record.name.as_str());
    table.insert(key, encode("exemptions", &stored)?.as_slice()).map_err(unwritten)?;
    let event = match &record.body {
        ExemptionBody::Signed(_) => "exemption-applied",
        ExemptionBody::Emergency(_) => "exemption-emergency",
    };
    let replaced = before.map(|before| before.digest).filter(|digest| *digest != record.digest);
    let mut detail = json!({
        "by": by.who, "exemption": record.name, "digest": record.digest, "until": record.until,
    });
    if let Some(fields) = detail.as_object_mut() {
        match &record.body {
            ExemptionBody::Signed(envelope) => fields.insert("envelope".to_owned(), envelope.clone()),
            ExemptionBody::Emergency(emergency) => fields.insert("emergency".to_owned(), json!(emergency)),
        };
        if let Some(replaced) = replaced {
            fields.insert("replaces".to_owned(), json!(replaced));
        }
    }
    audit::append(tx, organization, event, detail, by.at)?;
    let answer = if same.is_some() { ExemptionPut::Same } else { ExemptionPut::New };
    Ok(Done { answer, effects: vec![Effect::Rules(organization.clone())] })
}

/// The workflow whose emergency it is; `None`: it was approved.
fn workflow(record: &ExemptionRecord) -> Option<&str> {
    match &record.body {
        ExemptionBody::Emergency(emergency) => Some(&emergency.workflow),
        ExemptionBody::Signed(_) => None,
    }
}

pub(super) fn withdraw(
    tx: &WriteTransaction,
    organization: &Name,
    name: &str,
    by: &By,
) -> Result<Done<Option<ExemptionRecord>>, StoreError> {
    let mut table = tx.open_table(EXEMPTIONS).map_err(unwritten)?;
    let key = (organization.as_str(), name);
    let known: Option<ExemptionRecord> = found(table.get(key), "exemptions")?;
    let known = match known {
        Some(known) if known.withdrawn_at.is_none() => known,
        other => return Ok(Done::unchanged(other)),
    };
    let record = ExemptionRecord { withdrawn_at: Some(by.at), ..known };
    table.insert(key, encode("exemptions", &record)?.as_slice()).map_err(unwritten)?;
    let mut withdrawn = tx.open_table(WITHDRAWN).map_err(unwritten)?;
    withdrawn.insert((organization.as_str(), record.digest.as_bytes()), instant(by.at)).map_err(unwritten)?;
    let detail = json!({"by": by.who, "exemption": name, "digest": record.digest});
    audit::append(tx, organization, "exemption-withdrawn", detail, by.at)?;
    Ok(Done { answer: Some(record), effects: vec![Effect::Rules(organization.clone())] })
}

fn rows(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    organization: &Name,
) -> Result<Vec<ExemptionRecord>, StoreError> {
    let name = organization.as_str();
    let mut records = Vec::new();
    for row in table.range((name, "")..).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != name {
            break;
        }
        records.push(decode("exemptions", value.value())?);
    }
    Ok(records)
}
