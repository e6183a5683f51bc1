//! Which files belong to a revision.

use std::collections::BTreeMap;

use crate::{
    Code, Diagnostics, Digest, Finding, Hasher, Origin,
    api::RevisionFiles,
    contract::{Contract, PolicyAttachment, PolicySource, SignerClause},
    digest::shorten,
    limits, paths,
    policy::{FileReference, PolicyDocument, PolicyGroupDocument},
    yaml::Issues,
};

/// Gathers a contract and every file that it refers to. The contract is named by its file name in its folder; `load`
/// is asked for each file, and answers why when it cannot read one. It is asked for paths relative to the contract's
/// folder, for addresses (`https://…`; `http://` on this machine alone) and for names of the shipped
/// library (`sluice://NAME`, `sluice://NAME@VERSION`).
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
    /// By path.
    pub(super) groups: BTreeMap<String, PolicyGroupDocument>,
    /// Every file that something refers to, and the contract.
    pub(super) files: BTreeMap<String, String>,
}

impl Gathered {
    /// The policy that is attached. When it is not there, that was told when it was looked for.
    pub(super) fn policy<'g>(&'g self, source: &'g PolicySource) -> Option<&'g PolicyDocument> {
        match source {
            PolicySource::Embedded(document) => Some(document),
            PolicySource::File(file) => self.policies.get(found(file, &|path| self.files.contains_key(path))),
        }
    }
}

/// What a file is called that is there, under the first of its names.
fn found<'f>(file: &'f FileReference, there: &dyn Fn(&str) -> bool) -> &'f str {
    match &file.otherwise {
        Some(other) if !there(&file.path) && there(other) => other,
        _ => &file.path,
    }
}

/// Answers with a file's text, or why it cannot be read.
type Load<'l> = dyn FnMut(&str) -> Result<String, String> + 'l;

pub(super) fn gather(contract_file: &str, load: &mut Load<'_>, issues: &mut Issues) -> Gathered {
    let mut gathering = Gathering {
        load,
        issues,
        tried: BTreeMap::new(),
        bytes: 0,
        policies: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    let start = Origin { file: contract_file.to_owned(), line: 1, column: 1 };
    gathering.take(contract_file, &start);
    let contract =
        gathering.text(contract_file).and_then(|text| Contract::read_file(text.as_bytes(), gathering.issues));
    if let Some(contract) = &contract {
        for attachment in contract.policies.materials.iter().chain(&contract.policies.attestation) {
            gathering.attachment(attachment);
        }
        for group in &contract.policy_groups {
            gathering.group(&group.file, &group.origin);
        }
        let verifiers = contract.admission.iter().flat_map(|admission| &admission.verifiers);
        let verifiers = verifiers.map(|verifier| &verifier.signer);
        for signer in contract.signers.iter().flat_map(|signers| &signers.any).chain(verifiers) {
            if let SignerClause::Key { path, origin } = signer {
                gathering.take(path, origin);
            }
        }
    }
    let Gathering { tried, policies, groups, .. } = gathering;
    let files = tried.into_iter().filter_map(|(path, text)| text.map(|text| (path, text))).collect();
    Gathered { contract, policies, groups, files }
}

struct Gathering<'g, 'l> {
    load: &'g mut Load<'l>,
    issues: &'g mut Issues,
    /// What was asked for, and what came.
    tried: BTreeMap<String, Option<String>>,
    bytes: usize,
    policies: BTreeMap<String, PolicyDocument>,
    groups: BTreeMap<String, PolicyGroupDocument>,
}

impl Gathering<'_, '_> {
    fn group(&mut self, file: &FileReference, origin: &Origin) {
        if self.take(&file.path, origin)
            && let Some(group) = self.read(&file.path, PolicyGroupDocument::read_file)
        {
            for attachment in group.attachments() {
                self.attachment(attachment);
            }
            self.groups.insert(file.path.clone(), group);
        }
        self.advise_pin(file, origin);
        self.check_pin(file, origin);
    }

    fn attachment(&mut self, attachment: &PolicyAttachment) {
        let file = match &attachment.source {
            PolicySource::Embedded(document) => return self.references(document),
            PolicySource::File(file) => file,
        };
        let path = self.locate(file);
        if self.take(&path, &attachment.origin)
            && let Some(document) = self.read(&path, PolicyDocument::read_file)
        {
            self.references(&document);
            self.policies.insert(path, document);
        }
        self.advise_pin(file, &attachment.origin);
        self.check_pin(file, &attachment.origin);
    }

    /// The first of a file's names under which it can be loaded, else the first.
    fn locate(&mut self, file: &FileReference) -> String {
        let Some(other) = &file.otherwise else { return file.path.clone() };
        for path in [&file.path, other] {
            if self.text(path).is_some() {
                return path.clone();
            }
            if !self.tried.contains_key(path) && (self.load)(path).is_ok() {
                return path.clone();
            }
        }
        file.path.clone()
    }

    fn references(&mut self, document: &PolicyDocument) {
        for file in document.references() {
            self.take(&file.path, &file.origin);
            self.check_pin(file, &file.origin);
        }
    }

    fn read<T>(&mut self, path: &str, read: fn(&[u8], &mut Issues) -> Option<T>) -> Option<T> {
        let text = self.text(path)?;
        let before = self.issues.enter(path);
        let document = read(text.as_bytes(), self.issues);
        self.issues.enter(&before);
        document
    }

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
        // It must not travel any further, whatever it was taken for.
        if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY")) {
            let message = format!("`{}` holds a private key: name the file of the public one", shorten(path));
            return refuse(Code::DocumentInvalidValue, message);
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

    /// What is fetched may be another file the next time. What could not be fetched was told.
    fn advise_pin(&mut self, file: &FileReference, origin: &Origin) {
        let fetched = file.path.starts_with("http") && paths::is_address(&file.path);
        if !fetched || file.digest.is_some() || paths::is_address(&origin.file) {
            return;
        }
        let Some(digest) = self.pin(&file.path) else { return };
        let reference = shorten(&file.reference);
        let message = format!("`{reference}` may be another policy each time that it is fetched");
        let finding = Finding::warning(Code::ReferenceUnpinned, message).at(origin.clone());
        self.issues.push(finding.mend(format!("write `{reference}@{digest}`")));
    }

    fn located(&self, file: &FileReference) -> String {
        found(file, &|path| self.text(path).is_some()).to_owned()
    }

    /// Holds a pin against the digest of the file with all that it refers to. A file that is not there was told.
    fn check_pin(&mut self, file: &FileReference, origin: &Origin) {
        let Some(pinned) = file.digest else { return };
        let path = self.located(file);
        let (Some(text), Some(digest)) = (self.text(&path), self.pin(&path)) else { return };
        if digest != pinned {
            let alone = Digest::of(text.as_bytes()) == pinned;
            let why = if alone { ", which covers the document alone and not the files that it names" } else { "" };
            let message = format!("`{}` is {digest}, not the pinned {pinned}{why}", shorten(&path));
            let mend = "pin what it is now, if you reviewed it with all that it refers to";
            self.issues.push(Finding::error(Code::DocumentReference, message).at(origin.clone()).mend(mend));
        }
    }

    /// What a pin of a file is: the digest of its bytes when it refers to nothing; else a digest over its bytes and
    /// over each reference with what a pin of that would be.
    fn pin(&self, path: &str) -> Option<Digest> {
        let Some(group) = self.groups.get(path) else { return self.pin_of_policy(path) };
        let mut pins = BTreeMap::new();
        for attachment in group.attachments() {
            match &attachment.source {
                PolicySource::File(file) => {
                    pins.insert(file.reference.clone(), self.pin_of_policy(&self.located(file))?);
                }
                PolicySource::Embedded(document) => pins.extend(self.pins_of_references(document)?),
            }
        }
        Some(with_references(&self.text(path)?, pins))
    }

    fn pin_of_policy(&self, path: &str) -> Option<Digest> {
        let text = self.text(path)?;
        match self.policies.get(path) {
            Some(document) => Some(with_references(&text, self.pins_of_references(document)?)),
            None => Some(Digest::of(text.as_bytes())),
        }
    }

    fn pins_of_references(&self, document: &PolicyDocument) -> Option<BTreeMap<String, Digest>> {
        document
            .references()
            .map(|file| Some((file.reference.clone(), Digest::of(self.text(&file.path)?.as_bytes()))))
            .collect()
    }
}

fn with_references(text: &str, pins: BTreeMap<String, Digest>) -> Digest {
    if pins.is_empty() {
        return Digest::of(text.as_bytes());
    }
    let mut hasher = Hasher::default();
    hasher.update_framed(b"sluice.dev/pin/v1");
    hasher.update_framed(text.as_bytes());
    for (reference, pin) in pins {
        hasher.update_framed(reference.as_bytes());
        hasher.update_framed(pin.as_bytes());
    }
    hasher.finish()
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
            let message = format!(
                "`{}` is neither the path of a file within the contract's folder nor an address",
                shorten(path)
            );
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
