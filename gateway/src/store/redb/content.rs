//! What is known of signed content, in whichever bytes it came: when it was first seen, the earliest time proven for
//! it, and which attestations carry it.

use std::collections::BTreeSet;

use contracts::Digest;
use jiff::Timestamp;
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    memory::Effect,
    read::found,
    tables::{
        ARTIFACTS, ATTESTATIONS, FIRST_SEEN, HIGHEST, LOWEST, SUBJECTS, WRAPPINGS, digest, encode, instant, unread,
        unwritten,
    },
};
use crate::{
    names::Name,
    store::{AttestationFacts, Source, StoreError},
};

/// What is known of one signed content.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstSeen {
    pub(super) received_at: Timestamp,
    pub(super) signed_at: Option<Timestamp>,
    /// The attestation that was pushed with it: a run is attested once.
    pushed: Option<Digest>,
}

/// Takes note of signed content that came, in whichever wrapping. When this one proves an earlier time than what was
/// known, so do the attestations that are stored with the same content: they are as old as it is.
pub(super) fn seen(
    tx: &WriteTransaction,
    organization: &Name,
    facts: &AttestationFacts,
) -> Result<(FirstSeen, Vec<Effect>), StoreError> {
    let key = (organization.as_str(), facts.signed.as_bytes());
    let mut table = tx.open_table(FIRST_SEEN).map_err(unwritten)?;
    let known: Option<FirstSeen> = found(table.get(key), "first-seen")?;
    let pushed = matches!(facts.source, Source::Pushed { .. }).then_some(facts.id);
    let first = FirstSeen {
        received_at: known.map_or(facts.received_at, |known| known.received_at.min(facts.received_at)),
        signed_at: known.and_then(|known| known.signed_at).into_iter().chain(facts.signed_at).min(),
        pushed: known.and_then(|known| known.pushed).or(pushed),
    };
    if known == Some(first) {
        return Ok((first, Vec::new()));
    }
    table.insert(key, encode("first-seen", &first)?.as_slice()).map_err(unwritten)?;
    let mut effects = Vec::new();
    if let Some(known) = known {
        let mut carriers = wrappings(tx, organization, facts.signed)?;
        carriers.extend(known.pushed);
        for carrier in carriers {
            effects.extend(age(tx, organization, carrier, first)?);
        }
    }
    Ok((first, effects))
}

/// The wrapping that stands for this one. `None`: it stands for itself, from now on also for others.
pub(super) fn first_wrapping(
    tx: &WriteTransaction,
    organization: &Name,
    facts: &AttestationFacts,
    speaks_for: &Digest,
) -> Result<Option<Digest>, StoreError> {
    let key = (organization.as_str(), facts.signed.as_bytes(), speaks_for.as_bytes());
    let mut table = tx.open_table(WRAPPINGS).map_err(unwritten)?;
    if let Some(first) = table.get(key).map_err(unread)? {
        return Ok(Some(digest(first.value())));
    }
    table.insert(key, facts.id.as_bytes()).map_err(unwritten)?;
    Ok(None)
}

/// Puts a pushed attestation where it is found: under every image that it was made for.
pub(super) fn index(tx: &WriteTransaction, organization: &Name, facts: &AttestationFacts) -> Result<(), StoreError> {
    each_place(tx, organization, facts, true)
}

fn wrappings(tx: &WriteTransaction, organization: &Name, signed: Digest) -> Result<BTreeSet<Digest>, StoreError> {
    let (name, signed) = (organization.as_str(), signed.as_bytes());
    let table = tx.open_table(WRAPPINGS).map_err(unwritten)?;
    let rows = table.range((name, signed, LOWEST)..=(name, signed, HIGHEST)).map_err(unread)?;
    rows.map(|row| Ok(digest(row.map_err(unread)?.1.value()))).collect()
}

/// Lets a stored attestation be as old as its content is now known to be.
fn age(
    tx: &WriteTransaction,
    organization: &Name,
    id: Digest,
    FirstSeen { received_at, signed_at, .. }: FirstSeen,
) -> Result<Vec<Effect>, StoreError> {
    let key = (organization.as_str(), id.as_bytes());
    let mut table = tx.open_table(ATTESTATIONS).map_err(unwritten)?;
    let known: Option<AttestationFacts> = found(table.get(key), "attestations")?;
    let Some(known) = known else { return Ok(Vec::new()) };
    let aged = AttestationFacts { received_at, signed_at, ..known.clone() };
    if aged == known {
        return Ok(Vec::new());
    }
    each_place(tx, organization, &known, false)?;
    each_place(tx, organization, &aged, true)?;
    table.insert(key, encode("attestations", &aged)?.as_slice()).map_err(unwritten)?;
    Ok(aged.subjects.iter().map(|subject| Effect::Evidence(organization.clone(), *subject)).collect())
}

fn each_place(
    tx: &WriteTransaction,
    organization: &Name,
    facts: &AttestationFacts,
    there: bool,
) -> Result<(), StoreError> {
    let Source::Pushed { workflow, contract, accepted, made_for, artifacts, .. } = &facts.source else {
        return Ok(());
    };
    let (name, workflow, rejected) = (organization.as_str(), workflow.to_string(), u8::from(!accepted));
    let (at, id) = (instant(facts.at()), facts.id.as_bytes());
    for (of_kind, subjects) in [(SUBJECTS, made_for), (ARTIFACTS, artifacts)] {
        let mut table = tx.open_table(of_kind).map_err(unwritten)?;
        for subject in subjects {
            let key = (name, subject.as_bytes(), contract.as_str(), workflow.as_str(), at, rejected, id);
            if there {
                table.insert(key, ()).map_err(unwritten)?;
            } else {
                table.remove(key).map_err(unwritten)?;
            }
        }
    }
    Ok(())
}
