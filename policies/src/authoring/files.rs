//! A policy and the files that it refers to.

use std::collections::BTreeMap;

use contracts::{
    Code, Diagnostics, Finding, MaterialType,
    api::RevisionFiles,
    materials,
    policy::{PolicyDocument, ScriptKind},
    revision::{self, Revision},
};
use serde_json::json;

use crate::{compile, rule::RuleSet};

/// The contract that attaches the policy. No file that an author writes is called so.
pub(super) const CONTRACT: &str = ".sluice-authoring.yaml";
/// The material that the policy reads.
pub(super) const MATERIAL: &str = "material";

/// A policy with the files that it refers to.
#[derive(Debug, Clone)]
pub struct PolicyFiles {
    path: String,
    files: BTreeMap<String, String>,
    document: PolicyDocument,
}

impl PolicyFiles {
    /// Reads a policy and all that it refers to. `load` is asked for paths, beginning with `path`, each once, and
    /// answers why when it cannot read one. References lead nowhere out of the folder that paths begin at.
    ///
    /// # Errors
    /// Every mistake in the document, and every file that could not be read. Scripts are compiled when they are asked.
    pub fn collect(path: &str, load: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>) -> Result<Self, Diagnostics> {
        let contract = attaching(path, None, &BTreeMap::new());
        let mut with_contract =
            |name: &str| if name == CONTRACT { Ok(contract.clone().into_bytes()) } else { load(name) };
        let RevisionFiles { mut files, .. } =
            revision::collect(CONTRACT, &mut with_contract).map_err(without_contract)?;
        files.remove(CONTRACT);
        let bytes = files.get(path).map(String::as_bytes).unwrap_or_default();
        let document = PolicyDocument::parse(path, bytes)?;
        Ok(Self { path: path.to_owned(), files, document })
    }

    /// The policy's document.
    #[must_use]
    pub const fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// Every file by its path, as it is written.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// The types of what its scripts say that they read, in the order of the scripts; none for a policy that reads
    /// whatever it is attached to.
    #[must_use]
    pub fn kinds(&self) -> Vec<MaterialType> {
        let mut kinds = Vec::new();
        for script in &self.document.scripts {
            let kind = match script.kind {
                ScriptKind::Attestation => MaterialType::Attestation,
                ScriptKind::Material(kind) => kind,
                ScriptKind::Any => continue,
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The type that an input has, when nobody says it: the one that the policy reads, else the one that the bytes
    /// speak for themselves.
    ///
    /// # Errors
    /// When it may be several or none, with what to do.
    pub fn kind_of(&self, bytes: &[u8]) -> Result<MaterialType, String> {
        let kinds = self.kinds();
        if let [kind] = kinds[..] {
            return Ok(kind);
        }
        let recognised = materials::recognise(bytes);
        let listed = |kinds: &[MaterialType]| kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let fitting: Vec<MaterialType> =
            recognised.kinds.iter().copied().filter(|kind| kinds.is_empty() || kinds.contains(kind)).collect();
        match (fitting.as_slice(), recognised.kinds.as_slice()) {
            ([kind], _) => Ok(*kind),
            ([], []) if kinds.is_empty() => {
                Err("neither the policy nor the input says of what type it is: say its kind".to_owned())
            }
            ([], []) => Err(format!("the policy reads {}: say the kind of this input", listed(&kinds))),
            ([], others) => {
                Err(format!("the input is of type {}, and the policy reads {}", listed(others), listed(&kinds)))
            }
            (several, _) => Err(format!("the input can be of type {}: say its kind", listed(several))),
        }
    }

    /// The rules of a contract that attaches the policy, as a gate, to one thing of this type.
    ///
    /// # Errors
    /// Every mistake in its scripts; arguments that it does not take, or needs.
    pub fn compile(&self, kind: MaterialType, with: &BTreeMap<String, String>) -> Result<RuleSet, Diagnostics> {
        let mut files = self.files.clone();
        files.insert(CONTRACT.to_owned(), attaching(&self.path, Some(kind), with));
        let revision = Revision::from_files(&RevisionFiles { contract: CONTRACT.to_owned(), files });
        revision.and_then(|(revision, _)| compile(&revision)).map_err(without_contract)
    }
}

/// A contract that attaches the policy to what is of this type; to anything, when only its files are looked for.
fn attaching(path: &str, kind: Option<MaterialType>, with: &BTreeMap<String, String>) -> String {
    let reference = format!("file://{path}");
    let spec = match kind {
        Some(MaterialType::Attestation) => {
            json!({"policies": {"attestation": [{"ref": reference, "gate": true, "with": with}]}})
        }
        kind => {
            let kind = kind.unwrap_or(MaterialType::Evidence);
            let attached = json!({"ref": reference, "gate": true, "with": with, "selector": {"name": MATERIAL}});
            json!({"materials": [{"name": MATERIAL, "type": kind}], "policies": {"materials": [attached]}})
        }
    };
    json!({"apiVersion": "chainloop.dev/v1", "kind": "Contract", "metadata": {"name": "authoring"}, "spec": spec})
        .to_string()
}

/// Whether a finding points at the contract that attaches the policy.
pub(super) fn by_contract(finding: &Finding) -> bool {
    finding.origin.as_ref().is_some_and(|origin| origin.file == CONTRACT)
}

/// Nobody wrote the contract, so nobody can be sent there.
pub(super) fn without_contract(Diagnostics(findings): Diagnostics) -> Diagnostics {
    let point = |mut finding: Finding| {
        if by_contract(&finding) {
            finding.origin = None;
            // Its mends speak of a contract's keys.
            if matches!(finding.code, Code::DocumentInvalidValue | Code::DocumentReference) {
                finding.mend = None;
            }
        }
        finding
    };
    Diagnostics(findings.into_iter().map(point).collect())
}
