//! What operators deny.

use contracts::{Digest, limits};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde_json::json;

use super::{
    audit,
    memory::Effect,
    tables::{DENIALS, HIGHEST, Key, LOWEST, decode, encode, unread, unwritten},
    writer::Done,
};
use crate::{
    names::Name,
    store::{By, DenialPut, DenialRecord, StoreError},
};

/// All of an organization, by digest.
pub(super) fn all(tx: &ReadTransaction, organization: &Name) -> Result<Vec<DenialRecord>, StoreError> {
    rows(&tx.open_table(DENIALS).map_err(unread)?, organization)
}

pub(super) fn put(
    tx: &WriteTransaction,
    organization: &Name,
    record: &DenialRecord,
    by: &By,
) -> Result<Done<DenialPut>, StoreError> {
    let mut table = tx.open_table(DENIALS).map_err(unwritten)?;
    let known = rows(&table, organization)?;
    let before = known.iter().find(|other| other.digest == record.digest);
    let counting = known.iter().filter(|other| other.in_force(by.at) && other.digest != record.digest).count();
    if counting >= limits::DENIALS {
        return Ok(Done::unchanged(DenialPut::TooMany));
    }
    for over in known.iter().filter(|other| !other.in_force(by.at)) {
        table.remove((organization.as_str(), over.digest.as_bytes())).map_err(unwritten)?;
    }
    let key = (organization.as_str(), record.digest.as_bytes());
    table.insert(key, encode("denials", record)?.as_slice()).map_err(unwritten)?;
    // One that has ended is nothing that is replaced.
    let replaced = before.filter(|before| before.in_force(by.at));
    let mut detail = json!({"by": by.who, "digest": record.digest, "reason": record.reason});
    if let Some(fields) = detail.as_object_mut() {
        fields.extend(record.until.map(|until| ("until".to_owned(), json!(until))));
        if !record.repositories.is_empty() {
            fields.insert("repositories".to_owned(), json!(record.repositories));
        }
        fields.extend(replaced.map(|replaced| ("replaces".to_owned(), json!(replaced.id()))));
    }
    audit::append(tx, organization, "digest-denied", detail, by.at)?;
    let answer = replaced.map_or(DenialPut::New, |replaced| DenialPut::Replaced(Box::new(replaced.clone())));
    Ok(Done { answer, effects: vec![Effect::Rules(organization.clone())] })
}

pub(super) fn remove(
    tx: &WriteTransaction,
    organization: &Name,
    digest: Digest,
    by: &By,
) -> Result<Done<Option<DenialRecord>>, StoreError> {
    let mut table = tx.open_table(DENIALS).map_err(unwritten)?;
    let key = (organization.as_str(), digest.as_bytes());
    let known = table.remove(key).map_err(unwritten)?.map(|value| decode::<DenialRecord>("denials", value.value()));
    let Some(known) = known.transpose()? else { return Ok(Done::unchanged(None)) };
    let detail = json!({"by": by.who, "digest": digest, "denial": known.id()});
    audit::append(tx, organization, "denial-removed", detail, by.at)?;
    Ok(Done { answer: Some(known), effects: vec![Effect::Rules(organization.clone())] })
}

fn rows(
    table: &impl ReadableTable<(&'static str, Key), &'static [u8]>,
    organization: &Name,
) -> Result<Vec<DenialRecord>, StoreError> {
    let name = organization.as_str();
    let mut records = Vec::new();
    for row in table.range((name, LOWEST)..=(name, HIGHEST)).map_err(unread)? {
        records.push(decode("denials", row.map_err(unread)?.1.value())?);
    }
    Ok(records)
}
