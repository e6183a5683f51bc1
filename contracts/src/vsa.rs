//! Verdicts as SLSA Verification Summary Attestations, version 1 (<https://slsa.dev/spec/v1.1/verification_summary>):
//! the form in which others can hold a gateway to what it decided, and need not ask it again.
//!
//! [`summary`] is a pure function of a [`Verdict`]. What it returns is a claim of nobody until it is signed, and the
//! gateway signs nothing but summaries of verdicts that its own gate made (`gateway::word`). A summary is `PASSED`
//! only when contracts answered for the image, all of them allowed it, and that was enforced: what was merely let
//! through is `FAILED`, and its extension says that it was let through.
//!
//! The other way round, a contract may ask for the summary of another verifier: [`VerifierDemand`] says what such a one
//! has to be. Whether it was signed for that verifier is found out before; the gateway's own are never evidence.

mod foreign;

use serde_json::{Map, Value, json};

pub use self::foreign::{Rejected, VerifierDemand};
use crate::{Decision, Dependency, Digest, Hasher, Statement, Subject, Verdict, VerdictSubject};

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// The key of the extension that holds the whole verdict: `key`, and the fields of a [`Verdict`].
pub const EXTENSION: &str = "https://sluice.dev/verdict/v1";
/// The version of the specification that is followed.
pub const SLSA_VERSION: &str = "1.1";
/// What is told of the build of an image that passed: the contract may or may not have asked for it.
pub const LEVEL_UNEVALUATED: &str = "SLSA_BUILD_LEVEL_UNEVALUATED";

/// Told beside it of an image that passed only because of exemptions, so that who compares the levels exactly takes no
/// exceptions. Each is in the extension, at the findings that it covers.
pub const EXEMPTED: &str = "SLUICE_EXEMPTED";

/// Who verified, as summaries name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The gateway, as a URI: its address, or a name of its own. Where it is an address, what a summary refers to can
    /// be fetched below it.
    pub gateway: String,
    /// The organization whose contracts were asked. Part of the verifier's id: what one organization's contracts
    /// allow says nothing to those who trust another's, though one key signs for both.
    pub organization: String,
    /// The version of the program.
    pub version: String,
}

impl Verifier {
    /// `verifier.id`: what a reader must compare, beside checking the signature.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/organizations/{}", self.gateway, self.organization)
    }

    /// Where something of the gateway's API lies, when the gateway is named by an address.
    fn uri(&self, path: &str) -> Option<String> {
        let address = self.gateway.starts_with("https://") || self.gateway.starts_with("http://");
        address.then(|| format!("{}/api/v1/{path}", self.gateway))
    }

    /// The same, or a name in its place where there must be one.
    fn named(&self, path: &str) -> String {
        self.uri(path).unwrap_or_else(|| format!("{}/{path}", self.id()))
    }
}

/// Whether a verdict is a passed one: an allow by contracts that are enforced, each of which allows.
#[must_use]
pub fn passed(verdict: &Verdict) -> bool {
    let allows = verdict.decision == Decision::Allow && verdict.enforced;
    allows && !verdict.contracts.is_empty() && verdict.contracts.iter().all(|c| c.decision == Decision::Allow)
}

/// `resourceUri`: what a reader expects to see there without asking the producer. Of an image, the repository that it is
/// fetched from; the digest is the subject's. Of any other artifact, from which place it is fetched is not known here and
/// is nobody's word but the caller's: it is the digest itself, `sha256:…`.
#[must_use]
pub fn resource_uri(verdict: &Verdict) -> String {
    match &verdict.subject {
        VerdictSubject::Image(pinned) => format!("oci://{}", pinned.repository),
        VerdictSubject::Artifact(digest) => digest.to_string(),
    }
}

/// The statement that summarises a verdict, unsigned. `key` names the verdict at the gateway.
#[must_use]
pub fn summary(key: &Digest, verdict: &Verdict, verifier: &Verifier) -> Statement {
    let subject = match &verdict.subject {
        VerdictSubject::Image(pinned) => Subject::sha256(pinned.repository.to_string(), pinned.digest),
        VerdictSubject::Artifact(digest) => Subject::sha256(digest.to_string(), *digest),
    };
    let (result, levels) = match (passed(verdict), verdict.exempted) {
        (false, _) => ("FAILED", &["FAILED"][..]),
        (true, false) => ("PASSED", &[LEVEL_UNEVALUATED][..]),
        (true, true) => ("PASSED", &[LEVEL_UNEVALUATED, EXEMPTED][..]),
    };
    let mut predicate = json!({
        "verifier": {"id": verifier.id(), "version": {"sluice": verifier.version}},
        "timeVerified": verdict.evaluated_at,
        "resourceUri": resource_uri(verdict),
        "policy": policy(verdict, verifier),
        "verificationResult": result,
        "verifiedLevels": levels,
        "slsaVersion": SLSA_VERSION,
    });
    if let Some(fields) = predicate.as_object_mut() {
        let inputs: Vec<Value> = inputs(verdict, verifier).collect();
        if !inputs.is_empty() {
            fields.insert("inputAttestations".to_owned(), Value::Array(inputs));
        }
        fields.insert(EXTENSION.to_owned(), extension(key, verdict));
    }
    Statement::new(vec![subject], PREDICATE_TYPE, predicate)
}

/// The policy: one contract's revision as it is, else a digest over all that answered. Each is in the extension too.
fn policy(verdict: &Verdict, verifier: &Verifier) -> Value {
    let contracts = verdict.contracts.as_slice();
    if let [one] = contracts {
        let uri = verifier.named(&format!("contracts/{}?revision={}", one.contract, one.revision));
        return json!({"uri": uri, "digest": {"sha256": one.digest.hex()}});
    }
    if contracts.is_empty() {
        // What happens then is a setting of the organization.
        return json!({"uri": verifier.named("organization")});
    }
    let mut hasher = Hasher::default();
    for contract in contracts {
        hasher.update_framed(contract.contract.as_bytes());
        hasher.update_framed(contract.digest.as_bytes());
    }
    let annotations: Map<String, Value> =
        contracts.iter().map(|c| (c.contract.clone(), json!({"revision": c.revision, "digest": c.digest}))).collect();
    json!({
        "uri": verifier.named("contracts"),
        "digest": {"sha256": hasher.finish().hex()},
        "annotations": annotations,
    })
}

/// Every attestation that was looked at to decide.
fn inputs<'v>(verdict: &'v Verdict, verifier: &'v Verifier) -> impl Iterator<Item = Value> + 'v {
    verdict.depends_on.iter().filter_map(|dependency| match dependency {
        Dependency::Attestation(id) => {
            let mut input = json!({"digest": {"sha256": id.hex()}});
            if let (Some(uri), Some(fields)) = (verifier.uri(&format!("attestations/{id}")), input.as_object_mut()) {
                fields.insert("uri".to_owned(), Value::String(uri));
            }
            Some(input)
        }
        Dependency::RuleSet(_) | Dependency::TrustRoot(_) | Dependency::Exemption(_) | Dependency::Denial(_) => None,
    })
}

/// The verdict itself, which says until when it holds.
fn extension(key: &Digest, verdict: &Verdict) -> Value {
    let mut extension = serde_json::to_value(verdict).unwrap_or_else(|error| json!({"unwritable": error.to_string()}));
    if let Some(fields) = extension.as_object_mut() {
        fields.insert("key".to_owned(), json!(key));
    }
    extension
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, ContractAnswer, Enforcement, Finding};

    fn verdict(decision: Decision, enforced: bool, contracts: &[(&str, Decision)]) -> Verdict {
        let subject = format!("registry.acme.dev/skynet/app@{}", Digest::of(b"image"));
        let answers = contracts.iter().map(|(name, decision)| ContractAnswer {
            contract: (*name).to_owned(),
            revision: 3,
            digest: Digest::of(name.as_bytes()),
            enforcement: Enforcement::Enforce,
            decision: *decision,
        });
        Verdict {
            decision,
            enforced,
            exempted: false,
            subject: subject.parse().unwrap(),
            named: Vec::new(),
            contracts: answers.collect(),
            findings: vec![Finding::warning(Code::PolicyViolation, "a warning")],
            depends_on: vec![
                Dependency::RuleSet(Digest::of(b"rules")),
                Dependency::Attestation(Digest::of(b"attestation")),
            ],
            evaluated_at: "2026-11-24T12:00:00Z".parse().unwrap(),
            valid_until: Some("2026-11-25T12:00:00Z".parse().unwrap()),
        }
    }

    fn verifier() -> Verifier {
        Verifier {
            gateway: "https://sluice.acme.dev".to_owned(),
            organization: "acme".to_owned(),
            version: "1.2.3".to_owned(),
        }
    }

    #[test]
    fn a_passed_verdict_as_a_whole() {
        let statement =
            summary(&Digest::of(b"key"), &verdict(Decision::Allow, true, &[("release", Decision::Allow)]), &verifier());
        assert_eq!(Statement::parse(&statement.to_json_bytes()), Ok(statement.clone()));
        insta::assert_snapshot!(serde_json::to_string_pretty(&statement.raw).unwrap());
    }

    #[test]
    fn only_what_contracts_allowed_and_is_enforced_passed() {
        use Decision::{Allow, Deny};
        for (decision, enforced, contracts, result) in [
            (Allow, true, &[("a", Allow)][..], "PASSED"),
            (Allow, true, &[("a", Allow), ("b", Allow)], "PASSED"),
            (Deny, true, &[("a", Deny)], "FAILED"),
            // `enforcement: warn`, and `unmatched: allow`.
            (Allow, false, &[("a", Deny)], "FAILED"),
            (Allow, false, &[], "FAILED"),
            // What no gate would make.
            (Allow, true, &[], "FAILED"),
            (Allow, true, &[("a", Allow), ("b", Deny)], "FAILED"),
        ] {
            let statement = summary(&Digest::of(b"key"), &verdict(decision, enforced, contracts), &verifier());
            assert_eq!(statement.predicate["verificationResult"], result, "{decision:?} {enforced} {contracts:?}");
            let levels = if result == "PASSED" { json!([LEVEL_UNEVALUATED]) } else { json!(["FAILED"]) };
            assert_eq!(statement.predicate["verifiedLevels"], levels);
            assert_eq!(statement.predicate[EXTENSION]["enforced"], enforced);
        }
    }

    #[test]
    fn the_policy_changes_with_every_contract_and_the_verifier_with_the_organization() {
        let allow = Decision::Allow;
        let policy = |contracts: &[(&str, Decision)]| {
            policy(&verdict(allow, true, contracts), &verifier())["digest"]["sha256"].clone()
        };
        let all = [policy(&[("a", allow)]), policy(&[("a", allow), ("b", allow)]), policy(&[("ab", allow)])];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
        assert_eq!(policy(&[("a", allow)]), Digest::of(b"a").hex());
        assert_eq!(policy(&[]), Value::Null);
        let named = Verifier { gateway: "urn:sluice:1".to_owned(), ..verifier() };
        assert_eq!(named.id(), "urn:sluice:1/organizations/acme");
        let statement = summary(&Digest::of(b"key"), &verdict(allow, true, &[("a", allow)]), &named);
        assert_eq!(statement.predicate["inputAttestations"][0].get("uri"), None, "nothing to fetch it from");
    }
}
