//! Compiling: from a contract's revision to rules. What is printed is what runs.

mod attached;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use contracts::{
    Code, Diagnostics, Digest, Enforcement, Finding, MaterialType, Origin, SignerIdentity,
    contract::{Admission, MaterialClause},
    policy::ScriptLanguage,
    revision::Revision,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    cel,
    policy::Script,
    rule::{Engine, Phase, Program, Rule, RuleInput, RuleSet, Slot},
    schema::Schema,
};

/// Compiles a revision to its rules: one or more CEL rules for each structural clause, and one Rego rule for each
/// attached policy, or for each material that it reads.
///
/// # Errors
/// Every mistake in any rule, at its line and column: syntax, names and functions that are not known, what the engine
/// would silently do otherwise than OPA, functions that policies may not call. A contract that asks for nothing does
/// not compile.
pub fn compile(revision: &Revision) -> Result<RuleSet, Diagnostics> {
    let contract = revision.contract();
    let mut compiler = Compiler::default();
    for clause in &contract.materials {
        compiler.material(clause);
    }
    compiler.groups(&contract.materials);
    for annotation in &contract.annotations {
        let name = quote(&annotation.name);
        let message = match &annotation.value {
            Some(value) => format!("the run must have the annotation `{}` with the value `{value}`", annotation.name),
            None => format!("the run must have the annotation `{}`", annotation.name),
        };
        compiler.cel(Clause {
            id: format!("annotation-{}", annotation.name),
            source: annotated("run.annotations", &name, annotation.value.as_deref()),
            message,
            mend: Some(format!("push with `--annotation {}=VALUE`", annotation.name)),
            code: Code::AnnotationMissing,
            ..Clause::of(&annotation.origin)
        });
    }
    if let Some(runner) = &contract.runner {
        compiler.cel(Clause {
            id: "runner".to_owned(),
            source: format!("has(run.runner) && run.runner == {}", quote(runner.value.as_str())),
            message: format!("the run must come from a runner of type {}", runner.value),
            code: Code::RunnerMismatch,
            ..Clause::of(&runner.origin)
        });
    }
    compiler.signers(revision);
    for attachment in revision.attachments() {
        compiler.attachment(attachment, &contract.materials);
    }
    compiler.output_images(&contract.materials);
    if let Some(admission) = &contract.admission {
        compiler.admission(admission);
    }
    if compiler.rules.is_empty() && compiler.mistakes.is_empty() {
        let message = "the contract asks for nothing, so everything would satisfy it";
        let mend = "ask for a material, attach a policy, name signers, or write a rule under `admission`";
        compiler
            .mistakes
            .push(Finding::error(Code::DocumentMissingKey, message).at(contract.origin.clone()).mend(mend));
    }
    if !compiler.mistakes.is_empty() {
        return Err(Diagnostics(compiler.mistakes));
    }
    let enforcement = contract.admission.as_ref().map_or(Enforcement::Enforce, |admission| admission.enforcement);
    let slot = |clause: &MaterialClause| Slot {
        name: clause.name.clone(),
        kind: clause.kind,
        optional: clause.optional,
        group: clause.group.as_ref().map(|group| group.value.clone()),
    };
    let slots = contract.materials.iter().map(slot).collect();
    Ok(RuleSet::new(contract.name.clone(), enforcement, compiler.rules, slots))
}

#[derive(Default)]
struct Compiler {
    rules: Vec<Rule>,
    mistakes: Vec<Finding>,
    ids: BTreeSet<String>,
    /// The same script may be attached several times, with the same data.
    scripts: BTreeMap<(Origin, ScriptLanguage, Digest), Script>,
}

/// A rule that the compiler writes for a clause.
struct Clause<'o> {
    id: String,
    source: String,
    message: String,
    mend: Option<String>,
    code: Code,
    phase: Phase,
    input: RuleInput,
    origin: &'o Origin,
    effective_from: Option<Timestamp>,
    max_age: Option<SignedDuration>,
    schema: Option<(Arc<Schema>, Digest)>,
}

impl<'o> Clause<'o> {
    const fn of(origin: &'o Origin) -> Self {
        Self {
            id: String::new(),
            source: String::new(),
            message: String::new(),
            mend: None,
            code: Code::RuleFailed,
            phase: Phase::Intake,
            input: RuleInput::Attestation,
            origin,
            effective_from: None,
            max_age: None,
            schema: None,
        }
    }

    fn on(clause: &'o MaterialClause) -> Self {
        let input = RuleInput::Material { name: clause.name.clone() };
        Self { input, effective_from: clause.effective_from, ..Self::of(&clause.origin) }
    }
}

impl Compiler {
    fn cel(&mut self, clause: Clause<'_>) {
        let salt = clause.schema.as_ref().map(|(_, digest)| digest.to_string()).unwrap_or_default();
        match cel::compile_generated(&clause.source, clause.origin, salt) {
            Ok(expression) => self.push(clause, expression),
            Err(mistakes) => self.mistakes.extend(mistakes),
        }
    }

    fn push(&mut self, clause: Clause<'_>, expression: cel::Expression) {
        let names = vec![clause.id.clone()];
        let rule = Rule {
            id: self.unique(clause.id),
            names,
            engine: Engine::Cel,
            phase: clause.phase,
            source: clause.source,
            input: clause.input,
            gate: true,
            message: clause.message,
            mend: clause.mend,
            code: clause.code,
            origin: clause.origin.clone(),
            effective_from: clause.effective_from,
            program: Program::Cel(Arc::new(expression)),
            kind: None,
            max_age: clause.max_age,
            schema: clause.schema.map(|(schema, _)| schema),
        };
        self.rules.push(rule);
    }

    fn unique(&mut self, id: String) -> String {
        let mut unique = id.clone();
        let mut n = 1;
        while !self.ids.insert(unique.clone()) {
            n += 1;
            unique = format!("{id}-{n}");
        }
        unique
    }

    fn material(&mut self, clause: &MaterialClause) {
        let (name, kind) = (&clause.name, clause.kind);
        let key = quote(name);
        // Of a group it is the group that is asked for.
        if !clause.optional && clause.group.is_none() {
            self.cel(Clause {
                id: format!("material-{name}"),
                source: format!("{key} in materials"),
                message: format!("the contract asks for the material `{name}` of type {kind}, and there is none"),
                mend: Some(format!("add it: `sluice attestation add --name {name} --value …`")),
                code: Code::MaterialMissing,
                ..Clause::on(clause)
            });
        }
        self.cel(Clause {
            id: format!("material-{name}-type"),
            source: format!("!({key} in materials) || materials[{key}].type == {}", quote(kind.as_str())),
            message: format!("the material `{name}` must be of type {kind}"),
            code: Code::MaterialType,
            ..Clause::on(clause)
        });
        if !clause.skip_upload && kind != MaterialType::ContainerImage {
            self.cel(Clause {
                id: format!("material-{name}-bytes"),
                source: format!("!({key} in materials) || materials[{key}].present"),
                message: format!("the bytes of the material `{name}` were never uploaded, or were lost"),
                mend: Some("push the attestation again from where the material is".to_owned()),
                code: Code::MaterialBytesAbsent,
                ..Clause::on(clause)
            });
        }
        for annotation in &clause.annotations {
            let condition = annotated(
                &format!("materials[{key}].annotations"),
                &quote(&annotation.name),
                annotation.value.as_deref(),
            );
            self.cel(Clause {
                id: format!("material-{name}-annotation-{}", annotation.name),
                source: format!("!({key} in materials) || ({condition})"),
                message: match &annotation.value {
                    Some(value) => {
                        format!(
                            "the material `{name}` must have the annotation `{}` with the value `{value}`",
                            annotation.name
                        )
                    }
                    None => format!("the material `{name}` must have the annotation `{}`", annotation.name),
                },
                code: Code::AnnotationMissing,
                origin: &annotation.origin,
                ..Clause::on(clause)
            });
        }
        if let Some(schema) = &clause.schema {
            match Schema::new(name, schema) {
                Ok(compiled) => self.cel(Clause {
                    id: format!("material-{name}-schema"),
                    source: format!("schema_errors({key}) == []"),
                    message: format!("the material `{name}` breaks its schema"),
                    code: Code::MaterialSchema,
                    schema: Some((Arc::new(compiled), Digest::of(schema.to_string().as_bytes()))),
                    ..Clause::on(clause)
                }),
                Err(message) => {
                    self.mistakes.push(Finding::error(Code::DocumentInvalidValue, message).at(clause.origin.clone()));
                }
            }
        }
    }

    /// Of the materials of a group at least one must be there.
    fn groups(&mut self, materials: &[MaterialClause]) {
        let mut told = BTreeSet::new();
        for clause in materials {
            let Some(group) = clause.group.as_ref().filter(|group| told.insert(group.value.as_str())) else { continue };
            let members: Vec<&MaterialClause> =
                materials.iter().filter(|other| other.group.as_ref().is_some_and(|g| g.value == group.value)).collect();
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            let listed = names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
            // The group is asked for as soon as one of its materials is.
            let starts: Option<Vec<Timestamp>> = members.iter().map(|member| member.effective_from).collect();
            self.cel(Clause {
                id: format!("group-{}", group.value),
                source: format!("[{listed}].exists(m, m in materials)"),
                message: format!(
                    "the contract asks for at least one of the materials `{}`, and there is none",
                    names.join("`, `")
                ),
                mend: Some(format!("add one: `sluice attestation add --name {} --value …`", names.join("|"))),
                code: Code::MaterialMissing,
                effective_from: starts.and_then(|starts| starts.into_iter().min()),
                ..Clause::of(&group.origin)
            });
        }
    }

    fn signers(&mut self, revision: &Revision) {
        let (Some(policy), Some(clause)) = (revision.signer_policy(), &revision.contract().signers) else { return };
        let (mut keys, mut identities) = (Vec::new(), Vec::new());
        for allowed in policy.allowed() {
            match allowed.identity() {
                SignerIdentity::Key { id } => keys.push(quote(&id.to_string())),
                SignerIdentity::Certificate { issuer, identity } => {
                    identities.push(format!("[{}, {}]", quote(&issuer), quote(&identity)));
                }
            }
        }
        // Lists, not alternatives: however many there are, the expression does not grow deeper.
        let mut conditions = Vec::new();
        if !keys.is_empty() {
            conditions.push(format!("s.key in [{}]", keys.join(", ")));
        }
        if !identities.is_empty() {
            conditions.push(format!("[s.issuer, s.identity] in [{}]", identities.join(", ")));
        }
        let threshold = policy.threshold();
        self.cel(Clause {
            id: "signers".to_owned(),
            source: format!("size(signers.filter(s, {})) >= {threshold}", conditions.join(" || ")),
            message: match threshold {
                1 => "none of the signers that the contract names has signed".to_owned(),
                many => format!("fewer than {many} of the signers that the contract names have signed"),
            },
            code: Code::SignerNotAllowed,
            ..Clause::of(&clause.origin)
        });
    }

    /// What an attestation names as a subject and what it was made for can be two images: the contract speaks of the
    /// latter. Where none of the outputs is there, that is for the rules of their clauses to say.
    fn output_images(&mut self, materials: &[MaterialClause]) {
        let output = |clause: &&MaterialClause| clause.output && clause.kind == MaterialType::ContainerImage;
        let outputs: Vec<&MaterialClause> = materials.iter().filter(output).collect();
        let Some(first) = outputs.first() else { return };
        let names: Vec<String> = outputs.iter().map(|clause| quote(&clause.name)).collect();
        let source = match names.as_slice() {
            [only] => format!("!({only} in materials) || materials[{only}].digest == subject.digest"),
            several => {
                // A list, not alternatives: however many there are, the expression does not grow deeper.
                let list = several.join(", ");
                format!(
                    "![{list}].exists(n, n in materials) || [{list}].exists(n, n in materials && materials[n].digest == subject.digest)"
                )
            }
        };
        let named = outputs.iter().map(|clause| format!("`{}`", clause.name)).collect::<Vec<_>>().join(", ");
        // Until the first of them is demanded, this warns as they do.
        let effective_from = outputs.iter().map(|clause| clause.effective_from).min().flatten();
        self.cel(Clause {
            id: "output-image".to_owned(),
            source,
            message: format!(
                "the attestation was made for another image: the digest of its output {named} is not this image's"
            ),
            mend: Some(
                "attest this image: record it as the output that the contract asks for, with its own evidence"
                    .to_owned(),
            ),
            code: Code::SubjectMismatch,
            phase: Phase::Admission,
            effective_from,
            ..Clause::of(&first.origin)
        });
    }

    fn admission(&mut self, admission: &Admission) {
        if let Some(max_age) = &admission.max_age {
            self.cel(Clause {
                id: "max-age".to_owned(),
                source: format!("age < duration('{}s')", max_age.value.as_secs()),
                message: format!("the evidence is older than {:#}", max_age.value),
                mend: Some("build and attest the image again".to_owned()),
                code: Code::EvidenceTooOld,
                phase: Phase::Admission,
                // Whole seconds: the rule as it is printed is the rule as it runs.
                max_age: Some(SignedDuration::from_secs(max_age.value.as_secs())),
                ..Clause::of(&max_age.origin)
            });
        }
        if let Some(first) = admission.verifiers.first() {
            let ids: BTreeSet<&str> = admission.verifiers.iter().map(|verifier| verifier.id.as_str()).collect();
            let named = ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            self.cel(Clause {
                id: "verifiers".to_owned(),
                source: "size(verifiers) >= 1".to_owned(),
                message: format!("no summary by {named} says that it passed"),
                code: Code::SummaryMissing,
                phase: Phase::Admission,
                ..Clause::of(&first.origin)
            });
        }
        for rule in &admission.rules {
            match cel::compile(&rule.cel.value, &rule.cel.origin) {
                Ok(expression) => {
                    let clause = Clause {
                        id: rule.name.clone(),
                        source: rule.cel.value.clone(),
                        message: rule.message.clone(),
                        phase: Phase::Admission,
                        ..Clause::of(&rule.origin)
                    };
                    self.push(clause, expression);
                }
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
    }
}

fn annotated(map: &str, name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{name} in {map} && {map}[{name}] == {}", quote(value)),
        None => format!("{name} in {map} && {map}[{name}] != ''"),
    }
}

/// A CEL string literal.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\\' | '\'' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}
