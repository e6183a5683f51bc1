//! The rules of attached policies.

use std::{collections::BTreeMap, sync::Arc};

use contracts::{
    Code, Finding, Hasher, MaterialType,
    contract::MaterialClause,
    policy::{ScriptKind, ScriptLanguage},
    revision::{OtherMaterials, ResolvedAttachment, ResolvedScript, ScriptInput},
};
use regorus::Value;

use super::Compiler;
use crate::{
    cel,
    evidence::value_from,
    policy::{Policy, Script},
    rego,
    rule::{Engine, Phase, Program, Rule, RuleInput},
};

/// What a policy is held against.
enum On<'c> {
    Attestation,
    Material(&'c MaterialClause),
    /// Materials of this type that the contract does not ask for.
    Others(Option<MaterialType>, &'c OtherMaterials),
}

impl Compiler {
    pub(super) fn attachment(&mut self, resolved: &ResolvedAttachment, materials: &[MaterialClause]) {
        let of_attestation: Vec<&ResolvedScript> =
            resolved.scripts.iter().filter(|script| script.input == ScriptInput::Attestation).collect();
        if !of_attestation.is_empty() {
            self.policy(resolved, &of_attestation, &On::Attestation);
        }
        for clause in materials {
            let reads = |script: &&ResolvedScript| match &script.input {
                ScriptInput::Materials(names) => names.contains(&clause.name),
                ScriptInput::Attestation => false,
            };
            let scripts: Vec<&ResolvedScript> = resolved.scripts.iter().filter(reads).collect();
            if scripts.is_empty() {
                continue;
            }
            if clause.skip_upload {
                let message = format!(
                    "policy `{}` reads the material `{}`, whose bytes stay where they are",
                    resolved.document.name, clause.name
                );
                let origin = resolved.attachment.origin.clone();
                self.mistakes.push(Finding::error(Code::DocumentInvalidValue, message).at(origin));
                continue;
            }
            self.policy(resolved, &scripts, &On::Material(clause));
        }
        if let Some(others) = &resolved.others {
            self.others(resolved, others);
        }
    }

    /// What a run has beyond what the contract asks for is judged, too: one rule for each type that the scripts are
    /// for, or one for all when they are for any.
    fn others(&mut self, resolved: &ResolvedAttachment, others: &OtherMaterials) {
        let mut kinds: Vec<MaterialType> = Vec::new();
        for kind in resolved.scripts.iter().filter_map(|script| script.kind.material()) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let typed = resolved.document.scripts.iter().any(|script| script.kind != ScriptKind::Any);
        let any = (!typed).then_some(None);
        for kind in any.into_iter().chain(kinds.into_iter().map(Some)) {
            let applies = |script: &&ResolvedScript| script.kind == ScriptKind::Any || script.kind.material() == kind;
            let scripts: Vec<&ResolvedScript> = resolved.scripts.iter().filter(applies).collect();
            self.policy(resolved, &scripts, &On::Others(kind, others));
        }
    }

    fn policy(&mut self, resolved: &ResolvedAttachment, scripts: &[&ResolvedScript], on: &On<'_>) {
        let data = Value::from(
            resolved
                .data
                .iter()
                .map(|(name, json)| (Value::from(name.as_str()), value_from(json)))
                .collect::<BTreeMap<_, _>>(),
        );
        let compiled: Vec<_> = scripts.iter().filter_map(|script| self.script(script, &data)).collect();
        if compiled.len() < scripts.len() {
            return;
        }
        let document = &resolved.document;
        let policy = Policy {
            name: document.name.clone(),
            scripts: compiled,
            arguments: rego::arguments(&resolved.arguments),
            finding_type: document.finding_type,
        };
        let name = &document.name;
        let (id, input, kind, from) = match on {
            On::Attestation => (format!("policy-{name}"), RuleInput::Attestation, None, None),
            On::Material(clause) => (
                format!("policy-{name}-{}", clause.name),
                RuleInput::Material { name: clause.name.clone() },
                Some(clause.kind),
                clause.effective_from,
            ),
            On::Others(kind, others) => {
                let input = RuleInput::OtherMaterials { selector: others.selector.as_ref().map(Into::into) };
                let of = kind.map_or("any".to_owned(), |kind| kind.as_str().to_lowercase().replace('_', "-"));
                (format!("policy-{name}-other-{of}"), input, *kind, None)
            }
        };
        let rule = Rule {
            names: vec![name.clone(), format!("policy-{name}"), id.clone()],
            id: self.unique(id),
            engine: if policy.in_cel() { Engine::Cel } else { Engine::Rego },
            phase: Phase::Intake,
            source: scripts.iter().map(|script| script.source.as_str()).collect::<Vec<_>>().join("\n"),
            input,
            gate: resolved.gate,
            message: document.description.clone().unwrap_or_else(|| format!("policy `{name}`")),
            mend: None,
            code: Code::PolicyViolation,
            origin: resolved.attachment.origin.clone(),
            effective_from: from.max(resolved.effective_from),
            program: Program::Policy(Arc::new(policy)),
            kind,
            max_age: None,
            schema: None,
        };
        self.rules.push(rule);
    }

    fn script(&mut self, script: &ResolvedScript, data: &Value) -> Option<Script> {
        let mut hasher = Hasher::default();
        hasher.update_framed(script.source.as_bytes());
        hasher.update_framed(data.to_json_str().unwrap_or_default().as_bytes());
        let key = (script.origin.clone(), script.language.clone(), hasher.finish());
        if let Some(known) = self.scripts.get(&key) {
            return Some(known.clone());
        }
        let compiled = match &script.language {
            ScriptLanguage::Rego => {
                rego::compile(&script.source, &script.origin, data).map(|script| Script::Rego(Arc::new(script)))
            }
            ScriptLanguage::Cel { message } => {
                cel::Script::compile(&script.source, &script.origin, data, message.as_deref())
                    .map(|script| Script::Cel(Arc::new(script)))
            }
        };
        match compiled {
            Ok(compiled) => {
                self.scripts.insert(key, compiled.clone());
                Some(compiled)
            }
            Err(mistakes) => {
                // A script that is attached twice has its mistakes once.
                let new: Vec<_> = mistakes.into_iter().filter(|mistake| !self.mistakes.contains(mistake)).collect();
                self.mistakes.extend(new);
                None
            }
        }
    }
}
