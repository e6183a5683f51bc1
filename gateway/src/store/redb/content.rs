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
        ARTIFACTS, ATTESTATIONS, FIRST_SEEN, HIGHEST, LOWEST, SUBJECTS, WITHDRAWN_ABOUT, WRAPPINGS, digest, encode,
        instant, unread, unwritten,
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
    drop(table);
    let mut effects = Vec::new();
    if known.is_some() {
        let FirstSeen { received_at, signed_at, .. } = first;
        for carrier in carriers(tx, organization, facts.signed)? {
            // As old as its content is now known to be.
            let aged = |known: AttestationFacts| AttestationFacts { received_at, signed_at, ..known };
            effects.extend(change(tx, organization, carrier, aged)?.into_iter().flat_map(|(_, effects)| effects));
        }
    }
    Ok((first, effects))
}

/// All attestations that are stored with this signed content: those found beside images, and the one that was pushed.
pub(super) fn carriers(
    tx: &WriteTransaction,
    organization: &Name,
    signed: Digest,
) -> Result<BTreeSet<Digest>, StoreError> {
    let table = tx.open_table(FIRST_SEEN).map_err(unwritten)?;
    let known: Option<FirstSeen> = found(table.get((organization.as_str(), signed.as_bytes())), "first-seen")?;
    let mut carriers = wrappings(tx, organization, signed)?;
    carriers.extend(known.and_then(|known| known.pushed));
    Ok(carriers)
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

/// Puts an attestation where it is found: one that was pushed under every image that it was made for, another one that is
/// withdrawn under all that it names.
pub(super) fn index(tx: &WriteTransaction, organization: &Name, facts: &AttestationFacts) -> Result<(), StoreError> {
    each_place(tx, organization, facts, true)
}

fn wrappings(tx: &WriteTransaction, organization: &Name, signed: Digest) -> Result<BTreeSet<Digest>, StoreError> {
    let (name, signed) = (organization.as_str(), signed.as_bytes());
    let table = tx.open_table(WRAPPINGS).map_err(unwritten)?;
    let rows = table.range((name, signed, LOWEST)..=(name, signed, HIGHEST)).map_err(unread)?;
    rows.map(|row| Ok(digest(row.map_err(unread)?.1.value()))).collect()
}

/// Changes what is known of a stored attestation, and where it is found with it. `None`: it is not there, or is so
/// already.
pub(super) fn change(
    tx: &WriteTransaction,
    organization: &Name,
    id: Digest,
    change: impl FnOnce(AttestationFacts) -> AttestationFacts,
) -> Result<Option<(AttestationFacts, Vec<Effect>)>, StoreError> {
    let key = (organization.as_str(), id.as_bytes());
    let mut table = tx.open_table(ATTESTATIONS).map_err(unwritten)?;
    let known: Option<AttestationFacts> = found(table.get(key), "attestations")?;
    let Some(known) = known else { return Ok(None) };
    let changed = change(known.clone());
    if changed == known {
        return Ok(None);
    }
    each_place(tx, organization, &known, false)?;
    each_place(tx, organization, &changed, true)?;
    table.insert(key, encode("attestations", &changed)?.as_slice()).map_err(unwritten)?;
    let effects = changed.subjects.iter().map(|subject| Effect::Evidence(organization.clone(), *subject)).collect();
    Ok(Some((changed, effects)))
}

fn each_place(
    tx: &WriteTransaction,
    organization: &Name,
    facts: &AttestationFacts,
    there: bool,
) -> Result<(), StoreError> {
    let Source::Pushed { workflow, contract, accepted, made_for, artifacts, .. } = &facts.source else {
        return each_place_of_found(tx, organization, facts, there);
    };
    // What is withdrawn stands where what was rejected does: of one instant it is examined first.
    let rejected = u8::from(!accepted || facts.withdrawn.is_some());
    let (name, workflow) = (organization.as_str(), workflow.to_string());
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

/// What was found beside an image is looked for there. Once it is withdrawn, whoever may write to the registry must not
/// be able to take it away.
fn each_place_of_found(
    tx: &WriteTransaction,
    organization: &Name,
    facts: &AttestationFacts,
    there: bool,
) -> Result<(), StoreError> {
    if facts.withdrawn.is_none() {
        return Ok(());
    }
    let mut table = tx.open_table(WITHDRAWN_ABOUT).map_err(unwritten)?;
    for subject in &facts.subjects {
        let key = (organization.as_str(), subject.as_bytes(), facts.id.as_bytes());
        if there {
            table.insert(key, ()).map_err(unwritten)?;
        } else {
            table.remove(key).map_err(unwritten)?;
        }
    }
    Ok(())
}
