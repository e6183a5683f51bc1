//! What the contract would say of what was collected, before anything is signed: offline, with the rules of the revision
//! that the gateway sent. It is told and never decides: `push` asks the gateway whatever is said here.

use std::{fs, path::Path};

use contracts::{Digest, Finding, contract::Contract, crafting::DeclaredMaterial, limits};
use policies::authoring::{AtHand, preview};

use super::craft;
use crate::{
    clock,
    report::table,
    state::{Collected, Session},
};

/// What stands in the way of the whole session, what is missing apart.
pub fn whole(session: &Session, contract: &Contract) -> anyhow::Result<Vec<Finding>> {
    let mut findings = ask(session, contract)?;
    // That something is missing is told by its own words, and with it what could not judge it.
    let missing = |finding: &Finding| finding.code == contracts::Code::MaterialMissing;
    let causes: Vec<Finding> = findings.iter().filter(|finding| missing(finding)).cloned().collect();
    findings.retain(|finding| !missing(finding) && !causes.iter().any(|cause| finding.is_beneath(cause)));
    Ok(findings)
}

/// What stands in the way of these materials, whatever else is missing.
pub fn of(session: &Session, contract: &Contract, names: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut alone = session.clone();
    alone.materials.retain(|name, _| names.contains(name));
    let mut findings = ask(&alone, contract)?;
    let about = |finding: &Finding| finding.evidence.as_ref().and_then(|place| place.material.clone());
    findings.retain(|finding| about(finding).is_some_and(|name| names.contains(&name)));
    Ok(findings)
}

fn ask(session: &Session, contract: &Contract) -> anyhow::Result<Vec<Finding>> {
    let rules = match policies::compile(&session.revision()?) {
        Ok(rules) => rules,
        // The gateway's program is newer or older than this one.
        Err(_) => return Ok(Vec::new()),
    };
    let now = clock::now();
    let statement = craft::craft(session, craft::annotations(session, contract, &[])?, now).statement();
    let mut left = limits::MATERIALS_BYTES;
    let mut at_hand = |declared: &DeclaredMaterial| {
        let found = bytes_of(session.materials.get(&declared.name), declared, left);
        if let AtHand::Bytes(bytes) = &found {
            left = left.saturating_sub(bytes.len());
        }
        found
    };
    Ok(preview(&rules, &statement, &mut at_hand, now)?)
}

fn bytes_of(added: Option<&Collected>, declared: &DeclaredMaterial, left: usize) -> AtHand {
    if !declared.kind.has_document() || declared.image.is_some() || declared.skip_upload {
        return AtHand::NotNeeded;
    }
    let path: Option<&Path> = added.and_then(|added| added.path.as_deref());
    let read = path.and_then(|path| {
        let length = fs::metadata(path).ok()?.len();
        (length <= left.min(limits::MATERIAL_DOCUMENT_BYTES) as u64).then(|| fs::read(path).ok())?
    });
    // A file that was changed since is told by `push`.
    read.filter(|bytes| Digest::of(bytes) == declared.digest).map_or(AtHand::Elsewhere, AtHand::Bytes)
}

/// The findings in words, what blocks first.
pub fn told(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let blocks = findings.iter().filter(|finding| finding.blocks()).count();
    let head = match blocks {
        0 => "this would only warn:".to_owned(),
        1 => "as it is, the gateway would deny this:".to_owned(),
        more => format!("as it is, the gateway would deny this, for {more} reasons:"),
    };
    format!("{head}\n{}", table::findings(findings))
}
