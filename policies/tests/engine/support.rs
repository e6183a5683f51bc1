//! A contract, a build, and what the engine says.

use std::collections::BTreeMap;

use contracts::{
    Code, Decision, Diagnostics, Digest, PinnedRef, TrustRoot, Verification, Verified,
    api::RevisionFiles,
    crafting::{self, DeclaredMaterial},
    revision::Revision,
};
use jiff::Timestamp;
use policies::{Attested, Evaluation, Evidence, MaterialEvidence, Phase, RuleSet, compile, evaluate};
use testdata::{Material, Minter};

/// Compiles a contract whose `spec` is this, with these files beside it.
pub fn compiled(spec: &str, files: &[(&str, &str)]) -> Result<RuleSet, Diagnostics> {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let contract = format!("apiVersion: chainloop.dev/v1\nkind: Contract\nmetadata: {{name: release}}\nspec:\n{spec}");
    let mut all = BTreeMap::from([("contract.yaml".to_owned(), contract)]);
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    let files = RevisionFiles { contract: "contract.yaml".to_owned(), files: all };
    compile(&Revision::from_files(&files)?.0)
}

/// As [`compiled`], for contracts that are right.
pub fn rules(spec: &str, files: &[(&str, &str)]) -> RuleSet {
    compiled(spec, files).unwrap_or_else(|mistakes| panic!("{mistakes}\n{spec}"))
}

/// A policy on a kind of input, whose script is this body.
pub fn policy(name: &str, kind: &str, body: &str) -> String {
    let script: String =
        format!("package p\nimport rego.v1\n{body}").lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  policies:\n    - kind: {kind}\n      embedded: |\n{script}"
    )
}

/// The image that everything is about.
pub fn image() -> Digest {
    Digest::of(b"image")
}

pub fn pinned() -> PinnedRef {
    format!("registry.acme.dev/skynet/app@{}", image()).parse().unwrap()
}

/// What a build with this key attested.
pub fn attested(minter: &Minter, materials: &[Material]) -> Verified<Verification> {
    let mut all = vec![Material::image("image", "registry.acme.dev/skynet/app", image())];
    all.extend(materials.iter().cloned());
    verified(minter, &minter.attest(&testdata::run("run-1"), &all))
}

pub fn verified(minter: &Minter, bundle: &contracts::Bundle) -> Verified<Verification> {
    let root = TrustRoot::new(vec![minter.key().public().clone()], None).unwrap();
    root.verify(bundle, testdata::noon()).unwrap()
}

/// The evidence of that build, received at noon.
pub fn evidence(materials: &[Material]) -> Evidence {
    evidence_by(&Minter::fresh(), materials)
}

pub fn evidence_by(minter: &Minter, materials: &[Material]) -> Evidence {
    let verified = attested(minter, materials);
    let run = crafting::read(&verified.statement).unwrap().unwrap();
    let piece = |declared: &DeclaredMaterial| {
        let bytes =
            materials.iter().filter_map(|m| m.bytes.as_ref()).find(|bytes| Digest::of(bytes) == declared.digest);
        match (&declared.inline, bytes) {
            (Some(inline), _) => MaterialEvidence::from_bytes(declared, inline).unwrap(),
            (None, Some(bytes)) => MaterialEvidence::from_bytes(declared, bytes).unwrap(),
            (None, None) => MaterialEvidence::reference(declared),
        }
    };
    Evidence::of_run(Attested::new(&verified, testdata::noon()), run.materials.iter().map(piece).collect())
}

pub fn ask_at(rules: &RuleSet, evidence: &Evidence, now: Timestamp) -> Evaluation {
    evaluate(rules, evidence, Some(&pinned().into()), Phase::Admission, now).unwrap()
}

pub fn ask(rules: &RuleSet, evidence: &Evidence) -> Evaluation {
    ask_at(rules, evidence, testdata::noon())
}

/// The decision, and the code of every finding: in brackets when it only warns.
pub fn told(evaluation: &Evaluation) -> (Decision, Vec<String>) {
    let code = |f: &contracts::Finding| if f.blocks() { f.code.to_string() } else { format!("({})", f.code) };
    (evaluation.decision, evaluation.findings.iter().map(code).collect())
}

pub fn allowed() -> (Decision, Vec<String>) {
    (Decision::Allow, Vec::new())
}

pub fn denied(code: Code) -> (Decision, Vec<String>) {
    (Decision::Deny, vec![code.to_string()])
}

pub fn warned(code: Code) -> (Decision, Vec<String>) {
    (Decision::Allow, vec![format!("({code})")])
}
