//! Revisions: a contract and every file that it refers to, closed. Nothing outside of it is ever looked up.

mod arguments;
mod files;
mod groups;
mod resolve;
mod signers;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value as Json;

pub use files::collect;

use crate::{
    Code, Diagnostics, Digest, Finding, Hasher, Origin,
    api::RevisionFiles,
    contract::{Contract, PolicyAttachment, Selector},
    keys::PublicKey,
    policy::{PolicyDocument, ScriptKind, ScriptLanguage},
    verify::SignerPolicy,
    vsa::VerifierDemand,
    yaml::Issues,
};

/// A contract with everything that it refers to, read and resolved. Two revisions with the same digest are the same.
#[derive(Debug, Clone)]
pub struct Revision {
    contract: Contract,
    files: RevisionFiles,
    digest: Digest,
    attachments: Vec<ResolvedAttachment>,
    signer_policy: Option<SignerPolicy>,
    verifiers: Vec<VerifierDemand>,
}

/// An attached policy with its document, arguments, data and scripts. Those that are disabled, or that a group's
/// attachment skips, are not resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAttachment {
    /// The attachment, in the contract or in a group; the values of its arguments with the group's inputs put in.
    pub attachment: PolicyAttachment,
    /// The name of the group that it comes from.
    pub group: Option<String>,
    /// Whether a violation blocks.
    pub gate: bool,
    /// Until then it only warns.
    pub effective_from: Option<Timestamp>,
    /// The policy.
    pub document: PolicyDocument,
    /// The arguments: what the attachment gives and else the policy's defaults, none empty. Every required one is
    /// there; none is there that a policy which declares its inputs does not declare.
    pub arguments: BTreeMap<String, String>,
    /// The files of data that it declares, by name.
    pub data: BTreeMap<String, Json>,
    /// The scripts that may apply where the policy is attached.
    pub scripts: Vec<ResolvedScript>,
    /// Whether it reads materials of a run that the contract does not ask for.
    pub others: Option<OtherMaterials>,
}

/// Which materials of a run that the contract does not ask for a policy reads: of the types of its scripts, where they
/// have one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtherMaterials {
    /// Only those of this name.
    pub selector: Option<Selector>,
}

/// One script with what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedScript {
    /// What it reads.
    pub input: ScriptInput,
    /// What it is for.
    pub kind: ScriptKind,
    /// What it is written in.
    pub language: ScriptLanguage,
    /// The source.
    pub source: String,
    /// Where the first line of the source stands, for adding to the lines that a compiler reports.
    pub origin: Origin,
}

/// What a script reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptInput {
    /// The statement of an attestation.
    Attestation,
    /// Each of these materials of the contract, by name, in the contract's order. None of them has `skipUpload`.
    Materials(Vec<String>),
}

impl Revision {
    /// Reads a closed set of files, with its warnings.
    ///
    /// # Errors
    /// Every mistake in any of the documents, references to files that are not there, files that nothing refers to,
    /// policies that apply to nothing, arguments that do not fit, keys that are not public keys, and more than
    /// [`limits`](crate::limits) allow.
    pub fn from_files(files: &RevisionFiles) -> Result<(Self, Vec<Finding>), Diagnostics> {
        files::check(files)?;
        let mut issues = Issues::new(&files.contract);
        let mut gathered = files::gather(
            &files.contract,
            &mut |path| files.files.get(path).cloned().ok_or_else(|| "it is not among the files given".to_owned()),
            &mut issues,
        );
        let groups = groups::resolve(&mut gathered, &mut issues);
        let attachments = resolve::attachments(&gathered, &groups, &mut issues);
        let signer_policy = signers::resolve(&gathered, &mut issues);
        let verifiers = signers::verifiers(&gathered, &mut issues);
        let mut warnings = issues.finish()?;
        let Some(contract) = gathered.contract else { return Err(Diagnostics(warnings)) };
        // Without its signers a contract would fall to the organization's, which is for contracts that name none.
        if contract.signers.is_some() != signer_policy.is_some() {
            let message = "the signers of the contract could not be read";
            return Err(Diagnostics(vec![Finding::error(Code::SignersMissing, message)]));
        }
        let unused: Vec<Finding> = files
            .files
            .keys()
            .filter(|path| !gathered.files.contains_key(*path))
            .map(|path| {
                let message = format!("the contract does not refer to `{path}`");
                let origin = Origin { file: path.clone(), line: 1, column: 1 };
                Finding::error(Code::DocumentReference, message).at(origin).mend("leave the file out")
            })
            .collect();
        if !unused.is_empty() {
            warnings.extend(unused);
            return Err(Diagnostics(warnings));
        }
        let digest = digest_of(files);
        let files = files.clone();
        Ok((Self { contract, files, digest, attachments, signer_policy, verifiers }, warnings))
    }

    /// The contract, with the materials that its policy groups ask for.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// All files, as they were given.
    #[must_use]
    pub fn files(&self) -> &RevisionFiles {
        &self.files
    }

    /// The digest over which file is the contract, and every path and content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The policies that run, in the order of the contract: those on materials, then those on the attestation, then
    /// those of each group.
    #[must_use]
    pub fn attachments(&self) -> &[ResolvedAttachment] {
        &self.attachments
    }

    /// Who may sign; `None` when the contract names nobody and leaves that to the organization.
    #[must_use]
    pub fn signer_policy(&self) -> Option<&SignerPolicy> {
        self.signer_policy.as_ref()
    }

    /// The other verifiers whose summaries are asked for, with their keys.
    #[must_use]
    pub fn verifiers(&self) -> &[VerifierDemand] {
        &self.verifiers
    }

    /// The public keys that the contract's signers have, no key twice.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.signer_policy.iter().flat_map(SignerPolicy::keys)
    }
}

fn digest_of(files: &RevisionFiles) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update_framed(b"sluice.dev/contract-revision/v1");
    hasher.update_framed(files.contract.as_bytes());
    for (path, content) in &files.files {
        hasher.update_framed(path.as_bytes());
        hasher.update_framed(content.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
