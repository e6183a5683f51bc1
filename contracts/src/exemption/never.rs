//! What an organization never exempts from.
//!
//! It is written by people, who know a policy by its name, and compared with the ids of rules, of which one policy has
//! several: one for each material, `-other-` ones, and `-2` where an id was taken. So what is written covers every rule
//! that goes by it ([`RuleNames`]); where a rule is not known any more, every rule whose id begins so.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Code, Digest, Hasher};

/// The rules of an organization's contracts: by id, the other names that each goes by. Ids of several contracts are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleNames(BTreeMap<String, BTreeSet<String>>);

impl<'n, N: IntoIterator<Item = &'n str>> FromIterator<(&'n str, N)> for RuleNames {
    fn from_iter<I: IntoIterator<Item = (&'n str, N)>>(rules: I) -> Self {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, names) in rules {
            all.entry(id.to_owned()).or_default().extend(names.into_iter().map(str::to_owned));
        }
        Self(all)
    }
}

impl FromIterator<Self> for RuleNames {
    fn from_iter<I: IntoIterator<Item = Self>>(several: I) -> Self {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, names) in several.into_iter().flat_map(|one| one.0) {
            all.entry(id).or_default().extend(names);
        }
        Self(all)
    }
}

impl RuleNames {
    /// Why an exemption from a rule covers nothing, in words: no rule of these has that id. A policy's name is none.
    #[must_use]
    pub fn unknown(&self, rule: &str) -> Option<String> {
        if self.0.contains_key(rule) {
            return None;
        }
        let listed = |ids: Vec<&String>| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let so_called: Vec<&String> =
            self.0.iter().filter(|(_, names)| names.contains(rule)).map(|(id, _)| id).collect();
        if !so_called.is_empty() {
            let ids = listed(so_called);
            return Some(format!(
                "`{rule}` is no rule's id but what several rules are of, so the exemption covers nothing: name {ids}"
            ));
        }
        let ids: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let meant = crate::yaml::nearest(rule, &ids).map(|near| format!("; did you mean `{near}`?"));
        let meant = meant.unwrap_or_default();
        Some(format!("`{rule}` is no rule of a contract that the exemption is about, so it covers nothing now{meant}"))
    }
}

/// What is never exempted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Never {
    /// As it is written.
    written: BTreeSet<String>,
    /// The rules that are known, and whether they go by something that is written.
    known: BTreeMap<String, bool>,
    /// What is written and is neither the code of a finding nor the name of a rule, with what may have been meant.
    strange: Vec<(String, Option<String>)>,
}

impl Never {
    pub(super) fn new(written: &[String], rules: &RuleNames) -> Self {
        let written: BTreeSet<String> = written.iter().cloned().collect();
        let goes_by = |id: &String, names: &BTreeSet<String>| {
            written.contains(id) || names.iter().any(|name| written.contains(name))
        };
        let known = rules.0.iter().map(|(id, names)| (id.clone(), goes_by(id, names))).collect();
        let codes = Code::ALL.iter().map(|(_, code, _)| *code);
        let texts: BTreeSet<&str> = rules
            .0
            .iter()
            .flat_map(|(id, names)| std::iter::once(id).chain(names).map(String::as_str))
            .chain(codes)
            .collect();
        let texts_listed: Vec<&str> = texts.iter().copied().collect();
        let strange = written
            .iter()
            .filter(|text| !texts.contains(text.as_str()))
            .map(|text| (text.clone(), crate::yaml::nearest(text, &texts_listed).map(str::to_owned)))
            .collect();
        Self { written, known, strange }
    }

    /// Whether nothing exempts from a rule, whatever the finding's code.
    pub(super) fn forbids(&self, rule: &str) -> bool {
        self.known.get(rule).copied().unwrap_or_else(|| {
            let begins =
                |name: &str| rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
            self.written.iter().any(|text| begins(text) || begins(&format!("policy-{text}")))
        })
    }

    /// Whether nothing exempts from findings with this code.
    pub(super) fn forbids_code(&self, code: Code) -> bool {
        self.written.contains(code.as_str())
    }

    /// What protects nothing, each in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let told = self.strange.iter().map(|(text, meant)| {
            let meant = meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            format!(
                "`{text}` under `exemptions.never` is neither the code of a finding nor a rule or policy of a contract that is applied here, so it protects nothing now{meant}"
            )
        });
        told.collect()
    }

    /// Over all that is answered by.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for text in &self.written {
            hasher.update_framed(text.as_bytes());
        }
        if !self.written.is_empty() {
            for (rule, forbidden) in &self.known {
                hasher.update_framed(&[u8::from(*forbidden)]);
                hasher.update_framed(rule.as_bytes());
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_covers_every_rule_that_goes_by_it() {
        let rules: RuleNames = [
            ("policy-no-malware-image", vec!["no-malware", "policy-no-malware", "policy-no-malware-image"]),
            ("policy-no-malware-other-any", vec!["no-malware", "policy-no-malware", "policy-no-malware-other-any"]),
            ("policy-no-malware-image-2", vec!["no-malware", "policy-no-malware", "policy-no-malware-image"]),
            ("policy-no-malware-strict-image", vec!["no-malware-strict", "policy-no-malware-strict"]),
            ("from-main-2", vec!["from-main"]),
        ]
        .into_iter()
        .collect();
        let never = |text: &str| Never::new(&[text.to_owned()], &rules);
        for text in ["no-malware", "policy-no-malware"] {
            let never = never(text);
            for rule in ["policy-no-malware-image", "policy-no-malware-image-2", "policy-no-malware-other-any"] {
                assert!(never.forbids(rule), "{text}: {rule}");
            }
            assert!(!never.forbids("policy-no-malware-strict-image"), "another policy");
            assert_eq!(never.warnings(), Vec::<String>::new());
            // One that an older revision had.
            assert!(never.forbids("policy-no-malware-bundle") && never.forbids("policy-no-malware"));
            assert!(!never.forbids("policy-no-malwares-bundle") && !never.forbids("material-image"));
        }
        assert!(never("policy-no-malware-image").forbids("policy-no-malware-image-2"));
        assert!(!never("policy-no-malware-image").forbids("policy-no-malware-other-any"));
        assert!(never("from-main").forbids("from-main-2"));
        assert!(never("policy-violation").forbids_code(Code::PolicyViolation));
        assert!(!never("policy-violation").forbids("policy-no-malware-image"));
        assert_eq!(
            never("no-malwear").warnings(),
            [
                "`no-malwear` under `exemptions.never` is neither the code of a finding nor a rule or policy of a contract that is applied here, so it protects nothing now; did you mean `no-malware`?"
            ]
        );
        assert_eq!(rules.unknown("from-main-2"), None);
        let told = rules.unknown("no-malware").unwrap_or_default();
        assert!(told.contains("`policy-no-malware-image`, `policy-no-malware-image-2`"), "{told}");
        let told = rules.unknown("from-main-3").unwrap_or_default();
        assert!(told.ends_with("did you mean `from-main-2`?"), "{told}");
        assert_ne!(never("no-malware").digest(), never("no-malwear").digest());
    }
}
