//! Which files belong to a revision.

use std::collections::BTreeMap;

use crate::{
    Code, Diagnostics, Digest, Finding, Origin,
    api::RevisionFiles,
    contract::{Contract, PolicySource, SignerClause},
    digest::shorten,
    limits, paths,
    policy::{PolicyDocument, ScriptSource},
    yaml::Issues,
};

/// Gathers a contract and every file that it refers to. The contract is named by its file name in its folder; `load`
/// is asked for paths relative to that folder, each once, and answers why when it cannot read one.
///
/// # Errors
/// Every mistake in the contract and in the policies that it refers to, and every file that could not be read.
/// What spans several documents is looked at by [`Revision::from_files`](super::Revision::from_files).
pub fn collect(
    contract_file: &str,
    load: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<RevisionFiles, Diagnostics> {
    check_contract_name(contract_file)?;
    let mut issues = Issues::new(contract_file);
    let mut load_text = |path: &str| String::from_utf8(load(path)?).map_err(|_| "it is not UTF-8 text".to_owned());
    let gathered = gather(contract_file, &mut load_text, &mut issues);
    let warnings = issues.finish()?;
    if gathered.contract.is_none() {
        return Err(Diagnostics(warnings));
    }
    Ok(RevisionFiles { contract: contract_file.to_owned(), files: gathered.files })
}

/// What was read of a revision. Complete when there was no error.
pub(super) struct Gathered {
    pub(super) contract: Option<Contract>,
    /// By path.
    pub(super) policies: BTreeMap<String, PolicyDocument>,
    /// Every file that something refers to, and the contract.
    pub(super) files: BTreeMap<String, String>,
}

/// Answers with a file's text, or why it cannot be read.
type Load<'l> = dyn FnMut(&str) -> Result<String, String> + 'l;

pub(super) fn gather(contract_file: &str, load: &mut Load<'_>, issues: &mut Issues) -> Gathered {
    let mut gathering = Gathering { load, issues, tried: BTreeMap::new(), bytes: 0 };
    let mut policies = BTreeMap::new();
    let start = Origin { file: contract_file.to_owned(), line: 1, column: 1 };
    gathering.take(contract_file, &start);
    let contract =
        gathering.text(contract_file).and_then(|text| Contract::read_file(text.as_bytes(), gathering.issues));
    if let Some(contract) = &contract {
        for attachment in contract.policies.materials.iter().chain(&contract.policies.attestation) {
            match &attachment.source {
                PolicySource::Embedded(document) => gathering.take_scripts(document),
                PolicySource::File { path, digest } => {
                    if gathering.take(path, &attachment.origin)
                        && let Some(document) = gathering.read_policy(path)
                    {
                        gathering.take_scripts(&document);
                        policies.insert(path.clone(), document);
                    }
                    gathering.check_pin(path, *digest, &attachment.origin);
                }
            }
        }
        for signer in contract.signers.iter().flat_map(|signers| &signers.any) {
            if let SignerClause::Key { path, origin } = signer {
                gathering.take_key(path, origin);
            }
        }
    }
    let files = gathering.tried.into_iter().filter_map(|(path, text)| text.map(|text| (path, text))).collect();
    Gathered { contract, policies, files }
}

struct Gathering<'g, 'l> {
    load: &'g mut Load<'l>,
    issues: &'g mut Issues,
    /// What was asked for, and what came.
    tried: BTreeMap<String, Option<String>>,
    bytes: usize,
}

impl Gathering<'_, '_> {
    /// Loads a file that something refers to. True when it is there and was not asked for before.
    fn take(&mut self, path: &str, origin: &Origin) -> bool {
        if self.tried.contains_key(path) {
            return false;
        }
        let text = self.load(path, origin);
        let there = text.is_some();
        self.tried.insert(path.to_owned(), text);
        there
    }

    fn load(&mut self, path: &str, origin: &Origin) -> Option<String> {
        let mut refuse = |code: Code, message: String| {
            self.issues.push(Finding::error(code, message).at(origin.clone()));
            None
        };
        if self.tried.len() >= limits::REVISION_FILES {
            let message = format!("the contract refers to more than {} files", limits::REVISION_FILES);
            return refuse(Code::DocumentTooLarge, message);
        }
        let text = match (self.load)(path) {
            Ok(text) => text,
            Err(reason) => {
                return refuse(Code::DocumentReference, format!("`{}` cannot be read: {reason}", shorten(path)));
            }
        };
        if let Err(message) = check_size(path, text.len()) {
            return refuse(Code::DocumentTooLarge, message);
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > limits::REVISION_BYTES {
            let message = format!("the contract and its files have more than {} bytes", limits::REVISION_BYTES);
            return refuse(Code::DocumentTooLarge, message);
        }
        Some(text)
    }

    fn text(&self, path: &str) -> Option<String> {
        self.tried.get(path).cloned().flatten()
    }

    fn read_policy(&mut self, path: &str) -> Option<PolicyDocument> {
        let text = self.text(path)?;
        let before = self.issues.enter(path);
        let document = PolicyDocument::read_file(text.as_bytes(), self.issues);
        self.issues.enter(&before);
        document
    }

    fn take_scripts(&mut self, document: &PolicyDocument) {
        for script in &document.scripts {
            if let ScriptSource::File { path, origin } = &script.source {
                self.take(path, origin);
            }
        }
    }

    fn check_pin(&mut self, path: &str, pinned: Option<Digest>, origin: &Origin) {
        let (Some(pinned), Some(text)) = (pinned, self.text(path)) else { return };
        let digest = Digest::of(text.as_bytes());
        if digest != pinned {
            let message = format!("`{}` is {digest}, not the pinned {pinned}", shorten(path));
            let mend = "pin what the file is now, if you reviewed it";
            self.issues.push(Finding::error(Code::DocumentReference, message).at(origin.clone()).mend(mend));
        }
    }

    fn take_key(&mut self, path: &str, origin: &Origin) {
        self.take(path, origin);
        if self.text(path).is_some_and(|text| text.contains("PRIVATE KEY")) {
            // It must not travel any further.
            self.tried.insert(path.to_owned(), None);
            let message = format!("`{}` holds a private key", shorten(path));
            let mend = "name the file of the public key";
            self.issues.push(Finding::error(Code::DocumentInvalidValue, message).at(origin.clone()).mend(mend));
        }
    }
}

/// Bounds and paths of files from outside, before anything is read.
pub(super) fn check(files: &RevisionFiles) -> Result<(), Diagnostics> {
    check_contract_name(&files.contract)?;
    let whole = |code: Code, message: String| Err(Diagnostics(vec![Finding::error(code, message)]));
    if files.files.len() > limits::REVISION_FILES {
        let message = format!("a contract has at most {} files", limits::REVISION_FILES);
        return whole(Code::DocumentTooLarge, message);
    }
    if files.files.values().map(String::len).sum::<usize>() > limits::REVISION_BYTES {
        let message = format!("the contract and its files have more than {} bytes", limits::REVISION_BYTES);
        return whole(Code::DocumentTooLarge, message);
    }
    let mut findings = Vec::new();
    for (path, text) in &files.files {
        let origin = || Origin { file: shorten(path), line: 1, column: 1 };
        if let Err(message) = check_size(path, text.len()) {
            findings.push(Finding::error(Code::DocumentTooLarge, message).at(origin()));
        }
        if paths::resolve("", path).as_deref() != Ok(path.as_str()) {
            let message = format!("`{}` is not the path of a file within the contract's folder", shorten(path));
            findings.push(Finding::error(Code::DocumentReference, message).at(origin()));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Diagnostics(findings)) }
}

fn check_size(path: &str, bytes: usize) -> Result<(), String> {
    if bytes <= limits::REVISION_FILE_BYTES {
        return Ok(());
    }
    Err(format!("`{}` has {bytes} bytes; at most {} are read", shorten(path), limits::REVISION_FILE_BYTES))
}

fn check_contract_name(contract: &str) -> Result<(), Diagnostics> {
    if !contract.contains('/') && paths::resolve("", contract).as_deref() == Ok(contract) {
        return Ok(());
    }
    let message = format!("`{}` is not a file name: paths begin at the contract's folder", shorten(contract));
    Err(Diagnostics(vec![Finding::error(Code::DocumentReference, message)]))
}
