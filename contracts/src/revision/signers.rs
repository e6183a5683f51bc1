//! The signers of a contract, and of the verifiers that it asks, with their keys.

use super::files::Gathered;
use crate::{
    Code, Finding,
    contract::SignerClause,
    digest::shorten,
    keys::PublicKey,
    verify::{AllowedSigner, SignerPolicy},
    vsa::VerifierDemand,
    yaml::Issues,
};

/// The verifiers; those whose signer cannot be read come with a mistake, and are left out.
pub(super) fn verifiers(gathered: &Gathered, issues: &mut Issues) -> Vec<VerifierDemand> {
    let admission = gathered.contract.as_ref().and_then(|contract| contract.admission.as_ref());
    let mut demands = Vec::new();
    for clause in admission.iter().flat_map(|admission| &admission.verifiers) {
        let signer = match &clause.signer {
            SignerClause::Identity { issuer, identity, .. } => {
                AllowedSigner::Identity { issuer: issuer.clone(), identity: identity.clone() }
            }
            SignerClause::Key { path, origin } => {
                let Some(pem) = gathered.files.get(path) else { continue };
                match PublicKey::from_pem(pem) {
                    Ok(key) => AllowedSigner::Key(key),
                    Err(error) => {
                        let message = format!("`{}` is not a public key: {error}", shorten(path));
                        issues.push(Finding::error(Code::DocumentInvalidValue, message).at(origin.clone()));
                        continue;
                    }
                }
            }
        };
        match SignerPolicy::new(1, [signer]) {
            Ok(signer) => demands.push(VerifierDemand {
                id: clause.id.clone(),
                signer,
                levels: clause.levels.clone(),
                resources: clause.resources.clone(),
                policy: clause.policy,
                max_age: clause.max_age,
            }),
            Err(error) => {
                let finding = Finding::error(Code::DocumentInvalidValue, error.to_string());
                issues.push(finding.at(clause.origin.clone()));
            }
        }
    }
    demands
}

/// `None` when the contract leaves it to the organization, or with an error.
pub(super) fn resolve(gathered: &Gathered, issues: &mut Issues) -> Option<SignerPolicy> {
    let clause = gathered.contract.as_ref()?.signers.as_ref()?;
    let mut any = Vec::new();
    for signer in &clause.any {
        match signer {
            SignerClause::Identity { issuer, identity, .. } => {
                any.push(AllowedSigner::Identity { issuer: issuer.clone(), identity: identity.clone() });
            }
            SignerClause::Key { path, origin } => {
                // When it is not there, that was told when it was looked for.
                let Some(pem) = gathered.files.get(path) else { continue };
                let refuse = |code: Code, message: String| Finding::error(code, message).at(origin.clone());
                match PublicKey::from_pem(pem).map(AllowedSigner::Key) {
                    Ok(key) if any.contains(&key) => {
                        let message = format!("`{}` is a key that is named already", shorten(path));
                        issues.push(refuse(Code::DocumentDuplicate, message));
                    }
                    Ok(key) => any.push(key),
                    Err(error) => {
                        let message = format!("`{}` is not a public key: {error}", shorten(path));
                        issues.push(refuse(Code::DocumentInvalidValue, message));
                    }
                }
            }
        }
    }
    // With fewer signers than were named, a mistake was told already.
    if any.is_empty() || any.len() < clause.any.len() {
        return None;
    }
    SignerPolicy::new(clause.threshold, any)
        .map_err(|error| {
            let finding = Finding::error(Code::DocumentInvalidValue, error.to_string());
            issues.push(finding.at(clause.origin.clone()));
        })
        .ok()
}
