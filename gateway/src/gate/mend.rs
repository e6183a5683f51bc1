//! What a person can do about a finding that says nothing about it itself.

use contracts::{Code, Finding, VerdictSubject, limits};

use crate::rules::{CurrentContract, OrganizationRules};

/// That there was more evidence than is examined.
pub(super) fn limit_reached(crowded: bool, noun: &str) -> Finding {
    if crowded {
        let most = limits::WORKFLOWS_PER_SUBJECT;
        let message =
            format!("more than {most} workflows have pushed about the {noun}, and those examined do not satisfy");
        return Finding::error(Code::LimitReached, message).mend(format!("let fewer workflows attest the same {noun}"));
    }
    let most = limits::ATTESTATIONS_PER_SUBJECT;
    let message = format!("there are more than {most} attestations of the {noun}, and those examined do not satisfy");
    Finding::error(Code::LimitReached, message)
        .mend("push the attestation to the gateway, whose own are examined first, or remove others from the registry")
}

/// Gives a finding that blocks a mend, when it has none. `about` is what was asked about, where that is known.
pub(crate) fn complete(
    finding: &mut Finding,
    rules: &OrganizationRules,
    contract: &CurrentContract,
    about: Option<&VerdictSubject>,
) {
    if finding.blocks() && finding.mend.is_none() {
        let artifact = about.is_some_and(|subject| subject.image().is_none());
        finding.mend = Some(mend(finding.code, rules, contract, artifact));
    }
}

fn mend(code: Code, rules: &OrganizationRules, contract: &CurrentContract, artifact: bool) -> String {
    let noun = if artifact { "artifact" } else { "image" };
    let name = &contract.name;
    let bound = rules.workflows.iter().filter(|(_, contract)| *contract == name);
    let workflows: Vec<String> = bound.map(|(workflow, _)| format!("`{workflow}`")).take(3).collect();
    let push = if workflows.is_empty() {
        format!("bind a workflow to the contract `{name}` and push an attestation of the {noun} for it")
    } else {
        format!("push an attestation of the {noun} from the pipeline {}", workflows.join(" or "))
    };
    match code {
        Code::NoEvidence if artifact => {
            format!("{push}, with these very bytes as one of its outputs (`output: true` in the contract)")
        }
        Code::NoEvidence => format!("{push}, or attach one that its signers signed to the image in the registry"),
        Code::SignerNotAllowed | Code::SignatureInvalid => {
            format!("sign with a key or identity that the contract `{name}` trusts, and then {push}")
        }
        Code::MaterialBytesAbsent | Code::MaterialDigestMismatch => {
            "upload the material's bytes again (`sluice attestation add` does), and push".to_owned()
        }
        Code::SummaryMissing if artifact => {
            format!(
                "add to the run, as a material of the type `EVIDENCE`, what a verifier signed about this very digest that the contract `{name}` names under `verifiers`, and {push}"
            )
        }
        Code::SummaryMissing => {
            format!(
                "attach to the {noun} in its registry what a verifier signed that the contract `{name}` names under `verifiers`"
            )
        }
        Code::AttestationWithdrawn => format!("run the pipeline again, and {push}; or ask who keeps this gateway"),
        Code::EvidenceTooOld => format!("run the pipeline again: {push}"),
        Code::RuleError | Code::RuleBudget | Code::RuleResultShape => {
            format!("whoever maintains the contract `{name}` must mend the rule")
        }
        _ => format!("mend what the finding names, run the pipeline again, and {push}"),
    }
}
