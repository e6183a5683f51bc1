//! What spans several documents: policies with their scripts, arguments, data and materials.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{
    OtherMaterials, ResolvedAttachment, ResolvedScript, ScriptInput,
    arguments::{self, Taker},
    files::Gathered,
    groups::Group,
};
use crate::{
    Code, Finding, Origin,
    contract::{Contract, MatchMode, MaterialClause, PolicyAttachment, Selector},
    digest::shorten,
    policy::{PolicyDocument, PolicyScript, ScriptKind, ScriptSource, template::Bindings},
    yaml::{self, Issues, nearest},
};

pub(super) fn attachments(gathered: &Gathered, groups: &[Group], issues: &mut Issues) -> Vec<ResolvedAttachment> {
    let Some(contract) = &gathered.contract else { return Vec::new() };
    let mut resolver = Resolver { contract, gathered, issues, resolved: Vec::new() };
    for attachment in contract.policies.materials.iter().filter(|attachment| !attachment.disabled) {
        let on = On::Materials { selector: attachment.selector.as_ref(), any: false };
        resolver.direct(attachment, on);
    }
    for attachment in contract.policies.attestation.iter().filter(|attachment| !attachment.disabled) {
        resolver.direct(attachment, On::Attestation);
    }
    for group in groups {
        resolver.group(group);
    }
    resolver.resolved
}

/// What a policy is attached to.
#[derive(Clone, Copy)]
enum On<'a> {
    Attestation,
    Materials {
        selector: Option<&'a Selector>,
        /// Whether a script without a type reads materials of any type even without a selector, as in groups.
        any: bool,
    },
}

struct Resolver<'r> {
    contract: &'r Contract,
    gathered: &'r Gathered,
    issues: &'r mut Issues,
    resolved: Vec<ResolvedAttachment>,
}

impl<'r> Resolver<'r> {
    fn direct(&mut self, attachment: &PolicyAttachment, on: On<'_>) {
        let Some(document) = self.gathered.policy(&attachment.source) else { return };
        let gate = attachment.gate.unwrap_or(false);
        if let On::Materials { selector: Some(selector), .. } = on {
            self.check_selector(selector, gate);
        }
        let inputs = self.inputs(on, attachment, document);
        if inputs.iter().all(|(_, input)| reads_nothing(input)) {
            self.applies_to_nothing(attachment, gate, document, on);
        }
        self.push(attachment, None, document, on, inputs);
    }

    fn group(&mut self, group: &Group) {
        let on_materials = group.materials.iter().flat_map(|(selector, policies)| {
            policies.iter().map(move |policy| (policy, On::Materials { selector: selector.as_ref(), any: true }))
        });
        let on_attestation = group.attestation.iter().map(|policy| (policy, On::Attestation));
        let skip: Vec<&str> = group.attachment.skip.iter().map(|name| name.value.as_str()).collect();
        let (mut names, mut applies, mut unsaid) = (BTreeSet::new(), false, 0_usize);
        let (mut blocks, mut attached) = (group.attachment.gate == Some(true), 0_usize);
        for (attachment, on) in on_materials.chain(on_attestation) {
            attached += 1;
            if attachment.disabled {
                continue;
            }
            let Some(document) = self.gathered.policy(&attachment.source) else { return };
            names.insert(document.name.as_str());
            if skip.contains(&document.name.as_str()) {
                continue;
            }
            let gate = group.attachment.gate.or(attachment.gate);
            blocks |= gate == Some(true);
            unsaid += usize::from(gate.is_none());
            let inputs = self.inputs(on, attachment, document);
            if inputs.iter().any(|(_, input)| !reads_nothing(input)) {
                applies = true;
            } else if !matches!(on, On::Materials { selector: None, .. }) {
                // Without a name the policies of a group are for whatever there is of their types.
                self.applies_to_nothing(attachment, false, document, on);
            }
            self.push(attachment, Some(group), document, on, inputs);
        }
        let unknown = group.attachment.skip.iter().filter(|name| !names.contains(name.value.as_str()));
        for name in unknown {
            let message = format!("policy group `{}` has no policy `{}` to skip", group.name, shorten(&name.value));
            let known: Vec<&str> = names.iter().copied().collect();
            let mend = match nearest(&name.value, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", known.join(", ")),
            };
            let finding = Finding::warning(Code::DocumentInvalidValue, message).at(name.origin.clone());
            self.issues.push(finding.mend(mend));
        }
        let at = |finding: Finding| finding.at(group.attachment.origin.clone());
        if !applies && attached > 0 {
            let message = format!("no policy of the group `{}` applies to what the contract asks for", group.name);
            let finding = if blocks { Finding::error } else { Finding::warning };
            let finding = at(finding(Code::DocumentInvalidValue, message));
            self.issues.push(finding.mend("ask for materials of the types that the group's policies are for"));
        }
        if unsaid > 0 {
            let message =
                format!("policies of the group `{}` do not block: their violations are only shown", group.name);
            let finding = at(Finding::warning(Code::PolicyAdvisory, message));
            self.issues.push(finding.mend("add gate: true to block, or gate: false to keep it so"));
        }
    }

    fn push(
        &mut self,
        attachment: &PolicyAttachment,
        group: Option<&Group>,
        document: &PolicyDocument,
        on: On<'_>,
        inputs: Vec<(&PolicyScript, ScriptInput)>,
    ) {
        let bindings: Option<&Bindings> = group.map(|group| &group.bindings);
        let taker = Taker { what: "policy", name: &document.name, inputs: &document.inputs };
        let arguments = arguments::resolve(&taker, &attachment.with, bindings, &attachment.origin, self.issues);
        let scripts = inputs.into_iter().filter_map(|(script, input)| self.script(script, input)).collect();
        let data = self.data(document);
        let from_group = group.and_then(|group| group.attachment.effective_from);
        self.resolved.push(ResolvedAttachment {
            group: group.map(|group| group.name.clone()),
            gate: group.and_then(|group| group.attachment.gate).or(attachment.gate).unwrap_or(false),
            effective_from: attachment.effective_from.max(from_group),
            attachment: attachment.clone(),
            document: document.clone(),
            arguments,
            data,
            scripts,
            others: self.others(on, document),
        });
    }

    /// The scripts that are for what the policy is attached to, with what they read of the contract. A policy with
    /// typed scripts reads the materials of those types, one without reads what its selector names; a selector narrows
    /// both. Scripts without a type go along with typed ones.
    fn inputs<'d>(
        &mut self,
        on: On<'_>,
        attachment: &PolicyAttachment,
        document: &'d PolicyDocument,
    ) -> Vec<(&'d PolicyScript, ScriptInput)> {
        let On::Materials { selector, any } = on else {
            let applies = |script: &&PolicyScript| matches!(script.kind, ScriptKind::Attestation | ScriptKind::Any);
            return document.scripts.iter().filter(applies).map(|script| (script, ScriptInput::Attestation)).collect();
        };
        let typed = document.scripts.iter().any(|script| script.kind != ScriptKind::Any);
        let selected = |material: &&MaterialClause| match selector {
            Some(selector) => selector.matches(&material.name),
            None => typed || any,
        };
        // Another run's attestation can be a material too.
        let of_type = |material: &MaterialClause, script: &PolicyScript| script.kind.material() == Some(material.kind);
        let read: Vec<&MaterialClause> = self
            .contract
            .materials
            .iter()
            .filter(selected)
            .filter(|material| !typed || document.scripts.iter().any(|script| of_type(material, script)))
            .collect();
        for material in read.iter().filter(|material| material.skip_upload) {
            let message = format!(
                "policy `{}` reads the bytes of material `{}`, which `skipUpload: true` keeps away",
                document.name, material.name
            );
            let mend = "leave out `skipUpload` on the material, or name other materials with a `selector`";
            let origin = selector.map_or(&attachment.origin, |selector| &selector.origin);
            self.issues.push(Finding::error(Code::DocumentInvalidValue, message).at(origin.clone()).mend(mend));
        }
        let mut inputs = Vec::new();
        for script in &document.scripts {
            let names = read
                .iter()
                .filter(|material| script.kind == ScriptKind::Any || of_type(material, script))
                .map(|material| material.name.clone());
            inputs.push((script, ScriptInput::Materials(names.collect())));
        }
        inputs
    }

    /// A run may have more materials than the contract asks for; as published, policies read those too.
    fn others(&self, on: On<'_>, document: &PolicyDocument) -> Option<OtherMaterials> {
        let On::Materials { selector, any } = on else { return None };
        let typed = document.scripts.iter().any(|script| script.kind != ScriptKind::Any);
        let known = selector.is_some_and(|selector| {
            selector.mode == MatchMode::Exact && self.contract.material(&selector.name).is_some()
        });
        let reads = (typed || any || selector.is_some()) && !known;
        reads.then(|| OtherMaterials { selector: selector.cloned() })
    }

    fn check_selector(&mut self, selector: &Selector, gate: bool) {
        if self.contract.materials.iter().any(|material| selector.matches(&material.name)) {
            return;
        }
        let name = shorten(&selector.name);
        let message = match selector.mode {
            MatchMode::Exact => format!("the contract asks for no material `{name}`"),
            MatchMode::Prefix => format!("the contract asks for no material whose name begins with `{name}`"),
        };
        let names: Vec<&str> = self.contract.materials.iter().map(|material| material.name.as_str()).collect();
        let mend = match nearest(&selector.name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a material of the contract".to_owned(),
        };
        // It would read such a material if a run had it; but a gate that a run may walk around is none.
        let finding = if gate { Finding::error } else { Finding::warning };
        let finding = finding(Code::DocumentInvalidValue, message).at(selector.origin.clone());
        self.issues.push(finding.mend(mend));
    }

    /// A gate that never runs would pass by being empty; a policy that only informs may be there for later.
    fn applies_to_nothing(&mut self, attachment: &PolicyAttachment, gate: bool, document: &PolicyDocument, on: On<'_>) {
        let name = &document.name;
        let untyped = document.scripts.iter().all(|script| script.kind == ScriptKind::Any);
        let (message, mend) = match on {
            On::Attestation => {
                (format!("policy `{name}` has no script for attestations"), "attach it under `policies.materials`")
            }
            On::Materials { selector: None, .. } if untyped => (
                format!("policy `{name}` does not say which materials it reads"),
                "add a `selector` with a material's name",
            ),
            // That a selector names nothing was told.
            On::Materials { selector: Some(_), .. } if untyped => return,
            On::Materials { .. } => (
                format!("policy `{name}` applies to none of the contract's materials"),
                "ask for a material of its type",
            ),
        };
        let finding = if gate { Finding::error } else { Finding::warning };
        let finding = finding(Code::DocumentInvalidValue, message).at(attachment.origin.clone());
        self.issues.push(finding.mend(mend));
    }

    /// When it is not there, that was told when it was looked for.
    fn script(&self, script: &PolicyScript, input: ScriptInput) -> Option<ResolvedScript> {
        let (source, origin) = match &script.source {
            ScriptSource::Inline { text, origin } => (text.clone(), origin.clone()),
            ScriptSource::File(file) => {
                (self.gathered.files.get(&file.path)?.clone(), Origin { file: file.path.clone(), line: 1, column: 1 })
            }
        };
        Some(ResolvedScript { input, kind: script.kind, language: script.language.clone(), source, origin })
    }

    fn data(&mut self, document: &PolicyDocument) -> BTreeMap<String, Json> {
        let mut all = BTreeMap::new();
        for data in &document.data {
            let Some(text) = self.gathered.files.get(&data.file.path) else { continue };
            let before = self.issues.enter(&data.file.path);
            if let Some(node) = yaml::parse_into(text.as_bytes(), self.issues) {
                match node.to_json() {
                    Ok(json) => {
                        all.insert(data.name.clone(), json);
                    }
                    Err((place, text)) => {
                        let message = format!("`{}` is not a JSON number", shorten(&text));
                        self.issues.error(Code::DocumentInvalidValue, place, message);
                    }
                }
            }
            self.issues.enter(&before);
        }
        all
    }
}

fn reads_nothing(input: &ScriptInput) -> bool {
    matches!(input, ScriptInput::Materials(names) if names.is_empty())
}
