//! The `verifiers` of `admission`: whose summaries are asked for.

use super::{SignerClause, VerifierClause, signers};
use crate::{
    Code, Digest, Finding,
    digest::shorten,
    duration, limits,
    yaml::{Fields, Issues, Node},
};

const KNOWN: &[&str] = &["id", "publicKey", "issuer", "identity", "levels", "resources", "policy", "maxAge"];

pub(super) fn read(admission: &Fields<'_>, issues: &mut Issues) -> Vec<VerifierClause> {
    if admission.entry("verifiers").is_none() {
        return Vec::new();
    }
    let items = admission.list("verifiers", issues);
    // Written but empty is a mistake: nobody would be asked in silence.
    if items.is_empty() && admission.get("verifiers").is_none_or(|node| node.items().is_some()) {
        let message = "`verifiers` names nobody";
        issues.error_with(
            Code::DocumentMissingKey,
            admission.place_of("verifiers"),
            message,
            "name one, or leave it out",
        );
    }
    if items.len() > limits::VERIFIERS {
        let message = format!("`verifiers` names {}; at most {} are asked", items.len(), limits::VERIFIERS);
        issues.error(Code::DocumentTooLarge, admission.place_of("verifiers"), message);
    }
    let mut verifiers: Vec<VerifierClause> = Vec::new();
    for item in items {
        let Some(clause) = read_verifier(item, issues) else { continue };
        let same = |known: &VerifierClause| known.id == clause.id && same_signer(&known.signer, &clause.signer);
        if verifiers.iter().any(same) {
            issues.error(Code::DocumentDuplicate, item.place, "this verifier is named twice with the same signer");
        } else {
            verifiers.push(clause);
        }
    }
    verifiers
}

fn same_signer(one: &SignerClause, other: &SignerClause) -> bool {
    match (one, other) {
        (SignerClause::Key { path: one, .. }, SignerClause::Key { path: other, .. }) => one == other,
        (
            SignerClause::Identity { issuer: a, identity: b, .. },
            SignerClause::Identity { issuer: c, identity: d, .. },
        ) => (a, b) == (c, d),
        _ => false,
    }
}

fn read_verifier(node: &Node, issues: &mut Issues) -> Option<VerifierClause> {
    let verifier = Fields::read(node, "a verifier", KNOWN, issues)?;
    let id = signers::read_exact(&verifier, "id", issues);
    let signer = signers::read_named(&verifier, node, issues);
    let levels = read_levels(&verifier, issues);
    let resources = read_resources(&verifier, issues);
    let policy = verifier.text("policy", issues).and_then(|text| match text.value.parse::<Digest>() {
        Ok(digest) => Some(digest),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, verifier.place_of("policy"), error.to_string());
            None
        }
    });
    let max_age = verifier.text("maxAge", issues).and_then(|text| match duration::parse(text.value) {
        Ok(age) => Some(age),
        Err(error) => {
            issues.error(Code::DocumentInvalidValue, verifier.place_of("maxAge"), error.to_string());
            None
        }
    });
    let origin = issues.at(node.place);
    Some(VerifierClause { id: id?, signer: signer?, levels, resources, policy, max_age, origin })
}

fn read_levels(verifier: &Fields<'_>, issues: &mut Issues) -> Vec<String> {
    let mut levels = Vec::new();
    for level in verifier.texts("levels", issues) {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if level.value.is_empty() || !level.value.chars().all(word) || level.value == "FAILED" {
            let message = format!("`{}` is not a level", shorten(&level.value));
            let mend = "write what the verifier says, for example SLSA_BUILD_LEVEL_3";
            issues.push(Finding::error(Code::DocumentInvalidValue, message).at(level.origin).mend(mend));
        } else if levels.contains(&level.value) {
            let message = format!("`{}` appears twice", shorten(&level.value));
            issues.push(Finding::error(Code::DocumentDuplicate, message).at(level.origin));
        } else {
            levels.push(level.value);
        }
    }
    levels
}

fn read_resources(verifier: &Fields<'_>, issues: &mut Issues) -> Vec<String> {
    let mut resources = Vec::new();
    for resource in verifier.texts("resources", issues) {
        let shown = shorten(&resource.value);
        if resource.value.trim().is_empty() || resource.value.contains('*') {
            let message = format!("`{shown}` is not the name of a resource: it is compared letter by letter");
            let mend = "write the `resourceUri` that the verifier says, for example https://acme.dev/releases/app";
            issues.push(Finding::error(Code::DocumentInvalidValue, message).at(resource.origin).mend(mend));
        } else if resources.contains(&resource.value) {
            let message = format!("`{shown}` appears twice");
            issues.push(Finding::error(Code::DocumentDuplicate, message).at(resource.origin));
        } else {
            resources.push(resource.value);
        }
    }
    // Written but empty would ask for less than is meant.
    if resources.is_empty() && verifier.get("resources").is_some_and(|node| node.items().is_some_and(<[_]>::is_empty)) {
        let message = "`resources` names nothing";
        issues.error_with(
            Code::DocumentMissingKey,
            verifier.place_of("resources"),
            message,
            "name one, or leave it out",
        );
    }
    resources
}
