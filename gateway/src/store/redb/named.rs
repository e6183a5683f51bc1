//! Which digests what is kept names. Rather too many than too few: every run of 64 hexadecimal digits in what was signed,
//! or in a session, is taken for a digest, wherever it stands.

use std::collections::BTreeSet;

use contracts::{Bundle, Digest};
use redb::ReadTransaction;

use super::tables::{BUNDLES, HIGHEST, LOWEST, SESSIONS, unread};
use crate::{names::Name, store::StoreError};

/// Hexadecimal digits of a digest.
const DIGITS: usize = 64;

pub(super) fn among(
    tx: &ReadTransaction,
    organization: &Name,
    wanted: &BTreeSet<Digest>,
) -> Result<BTreeSet<Digest>, StoreError> {
    let (name, mut named) = (organization.as_str(), BTreeSet::new());
    if wanted.is_empty() {
        return Ok(named);
    }
    for row in tx.open_table(BUNDLES).map_err(unread)?.range((name, LOWEST)..=(name, HIGHEST)).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        // A material may be an attestation that is kept itself.
        let id = Digest::from_bytes(*key.value().1);
        named.extend(wanted.get(&id));
        // One that cannot be read may name anything.
        let bundle = Bundle::parse(value.value())
            .map_err(|error| StoreError::Corrupt { table: "bundles", reason: format!("`{id}`: {error}") })?;
        gather(&bundle.envelope().payload, wanted, &mut named);
    }
    for row in tx.open_table(SESSIONS).map_err(unread)?.range((name, "")..).map_err(unread)? {
        let (key, value) = row.map_err(unread)?;
        if key.value().0 != name {
            break;
        }
        gather(value.value(), wanted, &mut named);
    }
    Ok(named)
}

/// Adds what of the wanted the bytes name.
fn gather(bytes: &[u8], wanted: &BTreeSet<Digest>, named: &mut BTreeSet<Digest>) {
    let runs = bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= DIGITS);
    for digits in runs.flat_map(|run| run.windows(DIGITS)) {
        // In a place of its own for each: a long run has as many windows as digits.
        let mut bytes = [0; DIGITS / 2];
        if hex::decode_to_slice(digits, &mut bytes).is_ok() {
            named.extend(wanted.get(&Digest::from_bytes(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_wherever_it_stands() {
        let (one, two, three) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
        let text =
            format!("{{\"a\":\"{one}\",\"b\":\"0{}\",\"c\":\"{}\"}}", two.hex().to_uppercase(), &three.hex()[1..]);
        let mut named = BTreeSet::new();
        gather(text.as_bytes(), &BTreeSet::from([one, two, three]), &mut named);
        assert_eq!(named, BTreeSet::from([one, two]));
    }
}
