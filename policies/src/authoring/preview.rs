//! What the rules of a contract would say of a run that is not signed yet.

use contracts::{
    Code, EvidencePlace, Finding, MaterialType, Statement,
    crafting::{self, DeclaredMaterial},
};
use jiff::Timestamp;

use crate::{
    evaluate::{EvaluateError, evaluate},
    evidence::{Attested, Evidence, MaterialEvidence},
    rule::{Phase, RuleSet},
};

/// The bytes of a material, as far as they are at hand.
#[derive(Debug)]
pub enum AtHand {
    /// Here they are.
    Bytes(Vec<u8>),
    /// No rule needs them.
    NotNeeded,
    /// They are elsewhere: what rules say of this material is not known.
    Elsewhere,
}

/// Holds the rules that are asked at intake against a statement that nobody signed. This is help, not a verdict: the
/// gateway asks the same rules of what it verified itself. That nobody signed yet is not told; neither is anything about
/// materials whose bytes are elsewhere.
///
/// # Errors
/// When the wall clock ran out.
pub fn preview(
    rules: &RuleSet,
    statement: &Statement,
    at_hand: &mut dyn FnMut(&DeclaredMaterial) -> AtHand,
    now: Timestamp,
) -> Result<Vec<Finding>, EvaluateError> {
    let run = match crafting::read(statement) {
        Ok(Some(run)) => run,
        Ok(None) => return Ok(Vec::new()),
        Err(error) => return Ok(vec![Finding::error(error.code(), error.to_string())]),
    };
    let (mut materials, mut findings, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for declared in &run.materials {
        let read = match (at_hand(declared), &declared.inline) {
            (_, Some(inline)) => MaterialEvidence::from_bytes(declared, inline),
            (AtHand::Bytes(bytes), None) => MaterialEvidence::from_bytes(declared, &bytes),
            (AtHand::NotNeeded, None) if declared.kind == MaterialType::Artifact => {
                Ok(MaterialEvidence::hashed(declared))
            }
            (AtHand::NotNeeded, None) => Ok(MaterialEvidence::reference(declared)),
            (AtHand::Elsewhere, None) => {
                unknown.push(declared.name.clone());
                Ok(MaterialEvidence::reference(declared))
            }
        };
        match read {
            Ok(material) => materials.push(material),
            Err(finding) => {
                unknown.push(declared.name.clone());
                findings.push(finding);
            }
        }
    }
    let evidence = Evidence::of_run(Attested::unsigned(statement, now), materials);
    let said = evaluate(rules, &evidence, None, Phase::Intake, now)?.findings;
    let about = |place: &Option<EvidencePlace>| place.as_ref().and_then(|place| place.material.clone());
    findings.extend(said.into_iter().filter(|finding| {
        finding.code != Code::SignerNotAllowed && about(&finding.evidence).is_none_or(|name| !unknown.contains(&name))
    }));
    for finding in &mut findings {
        // The statement has no name yet.
        if let Some(place) = &mut finding.evidence {
            place.attestation = None;
        }
    }
    Ok(findings)
}
