//! Revisions: a contract and every file that it refers to, closed. Nothing outside of it is ever looked up.

mod files;
mod resolve;

use std::collections::BTreeMap;

pub use files::collect;

use crate::{
    Code, Diagnostics, Digest, Finding, Hasher, Origin,
    api::RevisionFiles,
    contract::{Contract, PolicyAttachment},
    policy::PolicyDocument,
    yaml::Issues,
};

/// A contract with everything that it refers to, read and resolved. Two revisions with the same digest are the same.
#[derive(Debug, Clone)]
pub struct Revision {
    contract: Contract,
    files: RevisionFiles,
    digest: Digest,
    attachments: Vec<ResolvedAttachment>,
}

/// An attached policy with its document, arguments and scripts. Disabled ones are not resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAttachment {
    /// The attachment.
    pub attachment: PolicyAttachment,
    /// The policy.
    pub document: PolicyDocument,
    /// The arguments: what the attachment gives and else the policy's defaults, none empty. Every required one is
    /// there; none is there that a policy which declares its inputs does not declare.
    pub arguments: BTreeMap<String, String>,
    /// The scripts that apply where the policy is attached, at least one when the attachment is a gate.
    pub scripts: Vec<ResolvedScript>,
}

/// One script with what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedScript {
    /// What it reads.
    pub input: ScriptInput,
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
    /// Each of these materials of the contract, by name, in the contract's order, at least one. None of them has
    /// `skipUpload`.
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
        let gathered = files::gather(
            &files.contract,
            &mut |path| files.files.get(path).cloned().ok_or_else(|| "it is not among the files given".to_owned()),
            &mut issues,
        );
        let attachments = resolve::attachments(&gathered, &mut issues);
        if let Some(signers) = gathered.contract.as_ref().and_then(|contract| contract.signers.as_ref()) {
            let message = "`signers` are not resolved yet";
            issues.push(Finding::error(Code::DocumentUnsupported, message).at(signers.origin.clone()));
        }
        let mut warnings = issues.finish()?;
        let Some(contract) = gathered.contract else { return Err(Diagnostics(warnings)) };
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
        Ok((Self { contract, files, digest, attachments }, warnings))
    }

    /// The contract.
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

    /// The policies that run, in the order of the contract: those on materials, then those on the attestation.
    #[must_use]
    pub fn attachments(&self) -> &[ResolvedAttachment] {
        &self.attachments
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
