//! Reading a map key by key, and collecting what is wrong.

use std::collections::BTreeMap;

use super::{Entry, Kind, Node, Place, Scalar, Spanned};
use crate::{Code, Diagnostics, Finding, Origin, digest::shorten, limits};

/// What is wrong with a set of documents, collected while they are read.
pub(crate) struct Issues {
    file: String,
    findings: Vec<Finding>,
    errors: usize,
    warnings: usize,
}

impl Issues {
    /// No issues yet; places are in this file.
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), findings: Vec::new(), errors: 0, warnings: 0 }
    }

    /// From here on places are in another file; answers with the one before.
    pub(crate) fn enter(&mut self, file: &str) -> String {
        std::mem::replace(&mut self.file, file.to_owned())
    }

    /// The file that places are in.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The place in the current file.
    pub(crate) fn at(&self, place: Place) -> Origin {
        place.in_file(&self.file)
    }

    /// Adds an error in the current file.
    pub(crate) fn error(&mut self, code: Code, place: Place, message: impl Into<String>) {
        let finding = Finding::error(code, message).at(self.at(place));
        self.push(finding);
    }

    /// Adds an error with a way to mend it.
    pub(crate) fn error_with(&mut self, code: Code, place: Place, message: impl Into<String>, mend: impl Into<String>) {
        let finding = Finding::error(code, message).at(self.at(place)).mend(mend);
        self.push(finding);
    }

    /// Adds a finding. Beyond [`limits::DOCUMENT_FINDINGS`] errors, and as many warnings, they are only counted.
    pub(crate) fn push(&mut self, finding: Finding) {
        let room = if finding.blocks() { &mut self.errors } else { &mut self.warnings };
        *room += 1;
        if *room <= limits::DOCUMENT_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// The warnings, when there is no error; otherwise everything, in the order of the files' lines.
    pub(crate) fn finish(mut self) -> Result<Vec<Finding>, Diagnostics> {
        self.findings.sort_by(|a, b| a.origin.cmp(&b.origin));
        let beyond = self.errors.saturating_sub(limits::DOCUMENT_FINDINGS);
        if beyond > 0 {
            let message = format!("{beyond} more mistakes are not shown");
            self.findings.push(Finding::error(Code::DocumentTooLarge, message));
        }
        if self.errors > 0 {
            return Err(Diagnostics(self.findings));
        }
        Ok(self.findings)
    }
}

/// A map whose keys were held against the keys that it may have.
///
/// Every key has one name, `camelCase`; `snake_case` is read as the same key, as protobuf's JSON mapping does.
pub(crate) struct Fields<'n> {
    /// Where the map begins.
    pub(crate) place: Place,
    /// What it describes, for messages: "a material".
    what: &'static str,
    found: BTreeMap<&'static str, &'n Entry>,
}

impl<'n> Fields<'n> {
    /// Holds a map against its keys. Unknown keys are errors that name the nearest known one; other values than a
    /// map are an error and `None`.
    pub(crate) fn read(
        node: &'n Node,
        what: &'static str,
        known: &[&'static str],
        issues: &mut Issues,
    ) -> Option<Self> {
        Self::read_with_inner(node, what, known, ("", &[]), issues)
    }

    /// The same for a map with an inner map, whose keys are often written a level too high.
    pub(crate) fn read_with_inner(
        node: &'n Node,
        what: &'static str,
        known: &[&'static str],
        (inner, keys_of_inner): (&'static str, &[&'static str]),
        issues: &mut Issues,
    ) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("{what} is a map of keys, not {}", node.kind_name());
            issues.error(Code::DocumentInvalidValue, node.place, message);
            return None;
        };
        let mut found: BTreeMap<&'static str, &'n Entry> = BTreeMap::new();
        for entry in entries {
            let Some(name) = known.iter().copied().find(|name| is_spelling_of(&entry.key, name)) else {
                if keys_of_inner.iter().any(|name| is_spelling_of(&entry.key, name)) {
                    let message = format!("{what} has no key `{}` of its own", entry.key);
                    issues.error_with(
                        Code::DocumentUnknownKey,
                        entry.place,
                        message,
                        format!("move it under `{inner}`"),
                    );
                } else {
                    unknown_key(entry, what, known, issues);
                }
                continue;
            };
            if let Some(first) = found.get(name) {
                let message = format!("`{}` and `{}` are the same key", first.key, entry.key);
                issues.error_with(Code::DocumentDuplicate, entry.place, message, "keep one of the two");
                continue;
            }
            found.insert(name, entry);
        }
        Some(Self { place: node.place, what, found })
    }

    /// The entry of a key, if it was written at all.
    pub(crate) fn entry(&self, name: &str) -> Option<&'n Entry> {
        self.found.get(name).copied()
    }

    /// The value of a key; nothing and `null` count as not written.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// Where to point for a key: at its value, else at the key, else at the map.
    pub(crate) fn place_of(&self, name: &str) -> Place {
        match self.entry(name) {
            Some(entry) if entry.value.is_null() => entry.place,
            Some(entry) => entry.value.place,
            None => self.place,
        }
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, name: &str, issues: &mut Issues) -> Option<&'n Node> {
        let node = self.get(name);
        if node.is_none() {
            let message = match self.entry(name) {
                Some(entry) => format!("`{}` is written without a value", entry.key),
                None => format!("{} needs `{name}`", self.what),
            };
            issues.error(Code::DocumentMissingKey, self.place_of(name), message);
        }
        node
    }

    /// A scalar's text.
    pub(crate) fn text(&self, name: &str, issues: &mut Issues) -> Option<Spanned<&'n str>> {
        let scalar = self.get(name).and_then(|node| scalar(node, name, issues).map(|s| (node, s)));
        scalar.map(|(node, scalar)| Spanned { value: scalar.text.as_str(), origin: issues.at(node.place) })
    }

    /// A scalar's text that must be there and not be empty.
    pub(crate) fn need_text(&self, name: &str, issues: &mut Issues) -> Option<Spanned<&'n str>> {
        let node = self.need(name, issues)?;
        let scalar = scalar(node, name, issues)?;
        if scalar.text.is_empty() {
            issues.error(Code::DocumentInvalidValue, node.place, format!("`{name}` is empty"));
            return None;
        }
        Some(Spanned { value: scalar.text.as_str(), origin: issues.at(node.place) })
    }

    /// `true` or `false`; `None` when not written.
    pub(crate) fn boolean(&self, name: &str, issues: &mut Issues) -> Option<bool> {
        let node = self.get(name)?;
        let boolean = node.scalar().and_then(Scalar::boolean);
        if boolean.is_none() {
            let message = match node.scalar() {
                Some(scalar) if scalar.plain => {
                    format!("`{name}` is `true` or `false`, not `{}`", shorten(&scalar.text))
                }
                Some(scalar) => format!("`{name}` is `true` or `false`, not the text `{}`", shorten(&scalar.text)),
                None => format!("`{name}` is `true` or `false`, not {}", node.kind_name()),
            };
            issues.error_with(Code::DocumentInvalidValue, node.place, message, "write true or false without quotes");
        }
        boolean
    }

    /// The items of a list; none when not written, or with an error.
    pub(crate) fn list(&self, name: &str, issues: &mut Issues) -> &'n [Node] {
        let Some(node) = self.get(name) else { return &[] };
        match node.items() {
            Some(items) if items.len() > limits::DOCUMENT_LIST_ITEMS => {
                let most = limits::DOCUMENT_LIST_ITEMS;
                let message = format!("`{name}` has {} items; at most {most} are read", items.len());
                issues.error(Code::DocumentTooLarge, node.place, message);
                &[]
            }
            Some(items) => items,
            None => {
                let message = format!("`{name}` is a list, not {}", node.kind_name());
                issues.error_with(Code::DocumentInvalidValue, node.place, message, "start each item with `- `");
                &[]
            }
        }
    }

    /// A list of texts that are not empty.
    pub(crate) fn texts(&self, name: &str, issues: &mut Issues) -> Vec<Spanned<String>> {
        let mut texts = Vec::new();
        for node in self.list(name, issues) {
            match node.scalar().filter(|scalar| !scalar.is_null() && !scalar.text.is_empty()) {
                Some(scalar) => texts.push(Spanned { value: scalar.text.clone(), origin: issues.at(node.place) }),
                None => issues.error(
                    Code::DocumentInvalidValue,
                    node.place,
                    format!("each item of `{name}` is a text that is not empty"),
                ),
            }
        }
        texts
    }

    /// A map from text to text; numbers and booleans keep the text they were written with.
    pub(crate) fn text_map(&self, name: &str, issues: &mut Issues) -> BTreeMap<String, Spanned<String>> {
        let mut map = BTreeMap::new();
        let Some(node) = self.get(name) else { return map };
        let Some(entries) = node.entries() else {
            let message = format!("`{name}` is a map of keys, not {}", node.kind_name());
            issues.error(Code::DocumentInvalidValue, node.place, message);
            return map;
        };
        for entry in entries {
            match entry.value.scalar().filter(|scalar| !scalar.is_null()) {
                Some(scalar) => {
                    let value = Spanned { value: scalar.text.clone(), origin: issues.at(entry.place) };
                    map.insert(entry.key.clone(), value);
                }
                None => {
                    let (message, mend) = if entry.value.is_null() {
                        let message = format!("`{}` is written without a value", shorten(&entry.key));
                        (message, "write \"\" for an empty text, or leave the key out")
                    } else {
                        let message = format!("`{}` is one text, not {}", shorten(&entry.key), entry.value.kind_name());
                        (message, "write several values as one text, separated by commas or line ends")
                    };
                    issues.error_with(Code::DocumentInvalidValue, entry.place, message, mend);
                }
            }
        }
        map
    }
}

fn scalar<'n>(node: &'n Node, name: &str, issues: &mut Issues) -> Option<&'n Scalar> {
    let scalar = node.scalar();
    if scalar.is_none() {
        let message = format!("`{name}` is one value, not {}", node.kind_name());
        issues.error(Code::DocumentInvalidValue, node.place, message);
    }
    scalar
}

fn unknown_key(entry: &Entry, what: &str, known: &[&'static str], issues: &mut Issues) {
    let message = format!("{what} has no key `{}`", shorten(&entry.key));
    let mend = match nearest(&entry.key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known keys: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    issues.error_with(Code::DocumentUnknownKey, entry.place, message, mend);
}

/// The known name that differs least from what was written, if it differs little.
#[must_use]
pub fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    // Names are short; what is longer is near to none of them.
    if written.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let written = plain(written);
    let scored = known.iter().map(|name| {
        let name_plain = plain(name);
        let score = if written.len() >= 4 && (name_plain.starts_with(&written) || written.starts_with(&name_plain)) {
            0.85
        } else {
            0.0_f64
        };
        (score.max(strsim::normalized_damerau_levenshtein(&written, &name_plain)), *name)
    });
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score >= 0.6).map(|(_, name)| name)
}

/// Whether a key as written is this name, or its `snake_case` spelling.
fn is_spelling_of(written: &str, name: &str) -> bool {
    if written == name {
        return true;
    }
    let mut written = written.chars();
    for c in name.chars() {
        let same = if c.is_ascii_uppercase() {
            written.next() == Some('_') && written.next() == Some(c.to_ascii_lowercase())
        } else {
            written.next() == Some(c)
        };
        if !same {
            return false;
        }
    }
    written.next().is_none()
}

/// Lower-case letters, digits and hyphens, a letter or digit at both ends.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| alphanumeric(b) || b == b'-')
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_key_is_named_only_when_it_is_near() {
        let known = ["materials", "envAllowList", "runner", "policies", "maxAge"];
        for (written, near) in [
            ("material", Some("materials")),
            ("env_allowlist", Some("envAllowList")),
            ("runer", Some("runner")),
            ("polices", Some("policies")),
            ("max-age", Some("maxAge")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &known), near, "{written}");
        }
    }

    #[test]
    fn both_spellings_are_the_same_key() {
        assert!(is_spelling_of("skip_upload", "skipUpload") && is_spelling_of("skipUpload", "skipUpload"));
        for other in ["skipupload", "skip_Upload", "skip_upload_", "skip-upload", "SkipUpload"] {
            assert!(!is_spelling_of(other, "skipUpload"), "{other}");
        }
    }
}
