//! Test cases of policies, as data beside the policy: what it is asked about and what it must say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    Code, Decision, Diagnostics, MaterialType, Origin,
    digest::shorten,
    paths,
    yaml::{self, Fields, Issues, Node, Spanned},
};

/// The cases of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyCases {
    /// The policy's file; without it the one that the cases are named after.
    pub policy: Option<Spanned<String>>,
    /// The cases, at least one, no two of one name.
    pub cases: Vec<PolicyCase>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyCase {
    /// What it shows, in words.
    pub name: String,
    /// What the policy is asked about.
    pub input: CaseInput,
    /// The input's type; without it what the policy says that it reads.
    pub kind: Option<MaterialType>,
    /// The file name that the policy sees; without it that of the input's file.
    pub filename: Option<String>,
    /// Annotations of the material.
    pub annotations: BTreeMap<String, String>,
    /// The arguments.
    pub with: BTreeMap<String, String>,
    /// The time that the policy is told.
    pub now: Option<Timestamp>,
    /// What it must say.
    pub expect: Expected,
    /// Where the case stands.
    pub origin: Origin,
}

/// What a policy is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseInput {
    /// A file, relative to the folder that paths begin at.
    File {
        /// Its path.
        path: String,
        /// Where it is named.
        origin: Origin,
    },
    /// Bytes that are written in the case itself: JSON for what was written as a map or list.
    Inline(Vec<u8>),
}

/// What a policy must say. What is not given may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether it lets pass.
    pub decision: Decision,
    /// The codes of all findings, in any order.
    pub codes: Option<Vec<Code>>,
    /// The messages of all findings, in any order.
    pub messages: Option<Vec<String>>,
    /// Parts of messages, each of which some finding must have.
    pub contains: Vec<String>,
    /// Whether it skips its input.
    pub skip: Option<bool>,
}

impl PolicyCases {
    /// Reads a file of cases. The file's name is its path from the folder that paths begin at.
    ///
    /// # Errors
    /// Every mistake in the document, with line and column.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Diagnostics> {
        let mut issues = Issues::new(file);
        let cases = yaml::parse_into(bytes, &mut issues).and_then(|node| Self::read(&node, &mut issues));
        let warnings = issues.finish()?;
        cases.ok_or(Diagnostics(warnings))
    }

    fn read(node: &Node, issues: &mut Issues) -> Option<Self> {
        let fields = Fields::read(node, "a file of test cases", &["policy", "tests"], issues)?;
        let policy = fields.need_path("policy", issues);
        fields.need("tests", issues)?;
        let nodes = fields.list("tests", issues);
        if nodes.is_empty() {
            issues.error(Code::DocumentMissingKey, fields.place_of("tests"), "there is no test case");
        }
        let mut names = BTreeSet::new();
        let mut cases = Vec::new();
        for node in nodes {
            let Some(case) = PolicyCase::read(node, issues) else { continue };
            if !names.insert(case.name.clone()) {
                let message = format!("two test cases are named `{}`", shorten(&case.name));
                issues.error(Code::DocumentDuplicate, node.place, message);
            }
            cases.push(case);
        }
        Some(Self { policy, cases })
    }
}

impl Fields<'_> {
    /// A path relative to the file, if it is written.
    fn need_path(&self, key: &str, issues: &mut Issues) -> Option<Spanned<String>> {
        let text = self.text(key, issues)?;
        match paths::resolve(issues.file(), text.value) {
            Ok(value) => Some(Spanned { value, origin: text.origin }),
            Err(error) => {
                issues.error(error.code(), self.place_of(key), error.to_string());
                None
            }
        }
    }
}

const CASE: &[&str] = &["name", "input", "text", "kind", "filename", "annotations", "with", "now", "expect"];

impl PolicyCase {
    fn read(node: &Node, issues: &mut Issues) -> Option<Self> {
        let fields = Fields::read(node, "a test case", CASE, issues)?;
        let name = fields.need_text("name", issues);
        let input = read_input(&fields, issues);
        let kind = fields.text("kind", issues).and_then(|text| match text.value.parse() {
            Ok(kind) => Some(kind),
            Err(error) => {
                let error: crate::materials::UnknownMaterialType = error;
                issues.error(Code::DocumentInvalidValue, fields.place_of("kind"), error.to_string());
                None
            }
        });
        let filename = fields.text("filename", issues).map(|text| text.value.to_owned());
        let texts = |map: BTreeMap<String, Spanned<String>>| map.into_iter().map(|(k, v)| (k, v.value)).collect();
        let annotations = texts(fields.text_map("annotations", issues));
        let with = texts(fields.text_map("with", issues));
        let now = fields.text("now", issues).and_then(|text| {
            let now = text.value.parse::<Timestamp>().ok();
            if now.is_none() {
                let message = format!("`{}` is not an instant", shorten(text.value));
                issues.error_with(
                    Code::DocumentInvalidValue,
                    fields.place_of("now"),
                    message,
                    "write it as 2027-01-01T09:00:00Z",
                );
            }
            now
        });
        let expect = fields.need("expect", issues).and_then(|node| Expected::read(node, issues));
        Some(Self {
            name: name?.value.to_owned(),
            input: input?,
            kind,
            filename,
            annotations,
            with,
            now,
            expect: expect?,
            origin: issues.at(node.place),
        })
    }
}

/// `input` is the path of a file, or the document itself; `text` is the input's text as it is.
fn read_input(fields: &Fields<'_>, issues: &mut Issues) -> Option<CaseInput> {
    let mend = "write `input:` with a file's path or the document itself, or `text:` with the text of the input";
    match (fields.get("input"), fields.get("text")) {
        (Some(_), Some(text)) => {
            let message = "`input` and `text` are two ways to give the same";
            issues.error_with(Code::DocumentDuplicate, text.place, message, "keep one of the two");
            None
        }
        (None, None) => {
            issues.error_with(Code::DocumentMissingKey, fields.place, "a test case needs an input", mend);
            None
        }
        (None, Some(_)) => {
            fields.need_text("text", issues).map(|text| CaseInput::Inline(text.value.as_bytes().to_vec()))
        }
        (Some(node), None) if node.scalar().is_some() => {
            fields.need_path("input", issues).map(|path| CaseInput::File { path: path.value, origin: path.origin })
        }
        (Some(node), None) => match node.to_json() {
            Ok(json) => Some(CaseInput::Inline(json.to_string().into_bytes())),
            Err((place, text)) => {
                let message = format!("`{}` is not a number that JSON has", shorten(&text));
                issues.error(Code::DocumentInvalidValue, place, message);
                None
            }
        },
    }
}

impl Expected {
    fn read(node: &Node, issues: &mut Issues) -> Option<Self> {
        const KNOWN: &[&str] = &["decision", "codes", "messages", "contains", "skip"];
        let fields = Fields::read(node, "`expect`", KNOWN, issues)?;
        let decision = fields.need_text("decision", issues).and_then(|text| match text.value {
            "allow" => Some(Decision::Allow),
            "deny" => Some(Decision::Deny),
            other => {
                let message = format!("`{}` is not a decision: write allow or deny", shorten(other));
                issues.error(Code::DocumentInvalidValue, fields.place_of("decision"), message);
                None
            }
        });
        let written = |key: &str| fields.get(key).is_some();
        let mut codes = Vec::new();
        for text in fields.texts("codes", issues) {
            match Code::ALL.iter().find(|(_, code, _)| *code == text.value) {
                Some((code, ..)) => codes.push(*code),
                None => {
                    let names: Vec<&str> = Code::ALL.iter().map(|(_, code, _)| *code).collect();
                    let finding = crate::Finding::error(
                        Code::DocumentInvalidValue,
                        format!("`{}` is not the code of a finding", shorten(&text.value)),
                    );
                    let finding = match yaml::nearest(&text.value, &names) {
                        Some(near) => finding.mend(format!("did you mean `{near}`?")),
                        None => finding,
                    };
                    issues.push(finding.at(text.origin));
                }
            }
        }
        let values = |texts: Vec<Spanned<String>>| texts.into_iter().map(|text| text.value).collect::<Vec<_>>();
        let messages = values(fields.texts("messages", issues));
        let contains = values(fields.texts("contains", issues));
        let skip = fields.boolean("skip", issues);
        Some(Self {
            decision: decision?,
            codes: written("codes").then_some(codes),
            messages: written("messages").then_some(messages),
            contains,
            skip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_with_all_that_it_may_say() {
        let text = "\
policy: ../p.yaml
tests:
  - name: old
    input: data/old.json
    kind: SBOM_CYCLONEDX_JSON
    filename: sbom.json
    annotations: {stage: release}
    with: {days: 30}
    now: 2027-01-01T00:00:00Z
    expect: {decision: deny, codes: [policy-violation], messages: [it is old], contains: [old], skip: false}
  - {name: none, input: [], expect: {decision: allow, messages: []}}
  - {name: text, text: '<x/>', expect: {decision: allow}}
";
        let read = PolicyCases::parse("policies/tests/p.yaml", text.as_bytes()).unwrap();
        assert_eq!(read.policy.unwrap().value, "policies/p.yaml");
        let [old, none, text] = &read.cases[..] else { panic!("three cases") };
        assert!(matches!(&old.input, CaseInput::File { path, .. } if path == "policies/tests/data/old.json"));
        assert_eq!((old.kind, old.with["days"].as_str()), (Some(MaterialType::SbomCyclonedxJson), "30"));
        assert_eq!(old.expect.codes, Some(vec![Code::PolicyViolation]));
        assert_eq!(
            (none.input.clone(), none.expect.messages.clone()),
            (CaseInput::Inline(b"[]".to_vec()), Some(vec![]))
        );
        assert_eq!(text.input, CaseInput::Inline(b"<x/>".to_vec()));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = "\
tests:
  - {name: a, input: ../../x, expect: {decision: pass}}
  - {name: b, input: {}, text: x, expect: {decision: allow}}
  - {name: c, kind: SBOM, now: today, expect: {decision: allow, codes: [policy-violated], skip: maybe}}
  - {nam: d, input: x.json}
  - {name: e, input: x.json, expect: {decision: allow}}
  - {name: e, input: x.json, expect: {decision: allow}}
";
        let Err(Diagnostics(found)) = PolicyCases::parse("p.test.yaml", text.as_bytes()) else { panic!("mistakes") };
        let shown: String = found
            .iter()
            .map(|f| {
                let place = f.origin.as_ref().map(|o| format!("{}:{}", o.line, o.column)).unwrap_or_default();
                format!("{place} {} {}; {}\n", f.code, f.message, f.mend.as_deref().unwrap_or("-"))
            })
            .collect();
        insta::assert_snapshot!(shown);
        assert!(PolicyCases::parse("p.test.yaml", b"tests: []").is_err());
    }
}
